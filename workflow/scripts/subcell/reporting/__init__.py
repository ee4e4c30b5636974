"""Tables, figures and the HTML page that a person reads."""
