"""The object store: SeaweedFS with keys and policies of its own. Two buckets play Backblaze B2 and Cloudflare R2."""
