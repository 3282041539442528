"""The live page in a real Chromium, served by the daemon as a process."""
