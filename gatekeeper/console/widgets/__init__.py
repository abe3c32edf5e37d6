"""The pieces that screens are made of. They draw what they are given and know nothing of the operator."""
