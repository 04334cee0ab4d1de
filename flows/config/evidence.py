"""What is kept of the held-out rows that verdicts rest on."""

from typing import Literal

from rlhf_core.config import Frozen


class EvidenceConfig(Frozen):
    """What is kept of the held-out rows that figures and verdicts rest on, with the run that measured them."""

    texts: Literal["kept", "hashed"] = "kept"
    """`hashed` keeps SHA-256 in place of each text: scores can still be compared, and nobody reads what people wrote;
    the audit then computes no figure again that needs words. It is of what is measured from then on."""
