"""What becomes of one charge when the answer is lost: troth and others run the same program, and the provider counts."""
