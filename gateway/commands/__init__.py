"""The commands of `gateway`, one subject a module; heavy imports wait until a command runs."""
