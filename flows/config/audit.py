"""How what is made, judged and promoted is stated, so that an audit can prove it."""

from pathlib import Path

from rlhf_core.config import Frozen


class AuditConfig(Frozen):
    """How the statements about what is made, judged and promoted are signed and kept."""

    sign: bool = True
    """Whether statements are signed. Unsigned ones prove nothing, and every page and audit says so."""
    key: Path | None = None
    """File of the signing key, which only its owner may read; RLHF_SIGNING_KEY comes first. By default
    `keys/pipeline.pem` in the storage folder, where one is made at the first use."""
    witness: Path | None = None
    """Folder that gets a copy of every statement, out of reach of who can write to registry and artifact store;
    RLHF_WITNESS comes first."""
