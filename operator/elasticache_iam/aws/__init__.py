"""AWS through boto3, and nothing else that knows it. Start reading in `aws.aws`; `aws.errors` is the table."""
