"""The catalogue: which fields exist, where their images lie and what is known of them."""
