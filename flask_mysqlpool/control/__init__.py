"""How the processes of an app see each other."""
