"""What clients of a cloud read from the environment: addresses and credentials, under the names they expect."""

from __future__ import annotations

from sandbox.state import CloudConfig, Secrets, StateDir


def client_environment(state: StateDir, config: CloudConfig, keys: Secrets) -> dict[str, str]:
    return {
        "DUMONT_API_URL": config.control_url,
        "DUMONT_CONSOLE_URL": config.console_url,
        "DUMONT_EMAIL": keys.dumont_email,
        "DUMONT_PASSWORD": keys.dumont_password,
        "VAST_URL": config.market_url,
        "VAST_API_KEY": keys.vast_api_key,
        "GCP_URL": f"{config.market_url}/gcp",
        "GCP_PROJECT": keys.gcp_project,
        "GCP_ACCESS_TOKEN": keys.gcp_access_token,
        "B2_KEY_ID": keys.b2_key_id,
        "B2_APPLICATION_KEY": keys.b2_application_key,
        "B2_BUCKET": keys.b2_bucket,
        "B2_ENDPOINT": config.store_url,
        "R2_ACCESS_KEY": keys.r2_access_key,
        "R2_SECRET_KEY": keys.r2_secret_key,
        "R2_BUCKET": keys.r2_bucket,
        "R2_ENDPOINT": config.store_url,
        "RESTIC_REPOSITORY": f"s3:{config.store_url}/{keys.b2_bucket}/restic",
        "RESTIC_PASSWORD": keys.restic_password,
        "AWS_ACCESS_KEY_ID": keys.b2_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.b2_application_key,
        "AWS_ENDPOINT_URL": config.store_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "SSH_KEY_PATH": str(state.user_key),
        "SANDBOX_CONTROL_TOKEN": keys.admin_token,
    }
