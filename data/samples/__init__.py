"""Which data can the project show itself on without anybody's files? Tables and pictures that it makes itself."""
