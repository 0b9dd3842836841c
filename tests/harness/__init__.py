"""What tests of several rooms need: databases and servers of their own."""
