"""How AWS is spoken to: everything on the client's side that imports boto3 or botocore."""
