"""The object store: SeaweedFS with two buckets that play Backblaze B2 and Cloudflare R2."""
