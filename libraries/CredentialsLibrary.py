"""Check that each address and credential of the target works, before a suite depends on it."""

from __future__ import annotations

from robot.api.deco import keyword, library

from library_parts.console import tell
from rekindle import access, target
from rekindle.errors import Misconfigured
from rekindle.target import GCP_SETTINGS


@library(scope="GLOBAL", doc_format="MARKDOWN")
class CredentialsLibrary:
    """Check that each address and credential of the target works, before a suite depends on it.

    Each failure names the variable to correct. A witness that the user has declined is skipped, and so is the CPU cloud
    if its credentials are not given, because only journeys need it.
    """

    @keyword
    def market_should_open_with_its_key(self) -> None:
        """Check that the market accepts its key and lists the machines of the account.

        Raises:
            AssertionError: it refuses the key, or cannot be reached.
        """
        if (market := target.current().market) is None:
            tell("Market: declined as a witness")
            return
        market.balance()
        tell(f"Market: opens with its key, {len(market.instances())} machines in the account")

    @keyword
    def ssh_key_should_be_known_to_the_market(self) -> None:
        """Check that the SSH key is readable and registered in the market's account.

        Raises:
            AssertionError: it is no private key, a passphrase protects it, or the account does not have it.
        """
        opened = target.current()
        key = opened.settings.ssh_key_path
        public_key = access.public_key_of(key)
        if opened.market is None:
            tell("SSH key: readable; not looked up, because the market is declined as a witness")
            return
        if not opened.market.knows_ssh_key(public_key):
            raise Misconfigured(
                f"The market's account does not have the SSH key of SSH_KEY_PATH ({key}), so no machine would accept "
                "it. Add its public half to the account, or name another key."
            )
        tell("SSH key: registered in the market's account")

    @keyword
    def cpu_cloud_should_open_with_its_token(self) -> None:
        """Check that the CPU cloud accepts its token and lists the machines of the project.

        Raises:
            AssertionError: some of its variables are missing, it refuses the token, or cannot be reached.
        """
        opened = target.current()
        if opened.gcp is None:
            if "gcp" not in opened.declined and any(getattr(opened.settings, name) for name in GCP_SETTINGS):
                opened.settings.require(*GCP_SETTINGS)
            tell("CPU cloud: not given; journeys and load need it, or --variable DECLINED_WITNESSES:gcp")
            return
        tell(f"CPU cloud: opens with its token, {len(opened.gcp.instances())} machines in the project")

    @keyword
    def page_should_answer(self) -> None:
        """Check that the product's web page answers. Skipped if its address is not given, because it is optional.

        Raises:
            AssertionError: nothing answers at its address, or something else than a page.
        """
        url = target.current().settings.dumont_console_url
        if url is None:
            tell("Page: DUMONT_CONSOLE_URL is not given; only the journey in the browser needs it")
            return
        access.check_page(url)
        tell(f"Page: answers at {url}")

    @keyword
    def repository_should_open_with_its_password(self, snapshot_id: str | None = None) -> None:
        """Check that the restic repository opens with its password, with our own reader and with restic, run here.

        Args:
            snapshot_id: snapshot that it must hold. If not given, a repository that does not exist yet passes, because
                the first snapshot creates it.

        Raises:
            AssertionError: the password or the place is wrong, the store cannot be reached, or the snapshot is missing.
        """
        opened = target.current()
        held = access.check_repository(
            opened.store,
            opened.repository_prefix,
            opened.repository_password,
            snapshot_id=snapshot_id,
            restic="restic" not in opened.declined,
        )
        tell(f"Repository: opens with its password, {held}" if held else "Repository: not there yet")
