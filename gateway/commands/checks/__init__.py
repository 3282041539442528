"""`gateway doctor`: what is looked at, each with what to do where it is not well."""
