"""The console: what there is to see, and what people may do about it, in a browser.

* **Reading.** A page asks one question (`page.Page`), which is read in one snapshot that cannot write and is ended after
  a time; then the page says so, and how to ask for less. What a page shows is in its address: filters, places in lists,
  views. Without JavaScript it can be read; with it, it follows what happens (`live`).
* **Acting.** An act is a form at `/act/NAME`, which says first what the act means for what troth promises. It goes through
  the desk (`troth.command.desk`), as a command of the command line does: the role is checked where the act is done, and
  it is recorded with its author. Each form has the command that does the same.
* **Who.** One door (`sign_in`): the application around it, people of `troth.access`, or links that work once.
* **What is not trusted.** Everything that is shown. All of it is escaped; a policy forbids any program that is not a file
  of this package; a POST counts only if it comes from a page of this console (`security`). Payloads are shown when
  somebody asks, who is recorded, and may be redacted.
"""

from troth.command.acts import Role
from troth.console.model import Operator, Payload
from troth.console.mount import Console

__all__ = ["Console", "Operator", "Payload", "Role"]
