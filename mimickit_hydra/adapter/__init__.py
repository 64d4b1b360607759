"""From a composed config to objects: the only room that knows every other room."""
