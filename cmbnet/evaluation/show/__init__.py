"""Tables, figures, pages and the files of an evaluation."""
