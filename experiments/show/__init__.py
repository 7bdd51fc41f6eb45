"""What people see: the command, the screen, the report; nothing is measured or judged here."""
