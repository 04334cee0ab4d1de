"""Gates: a figure, a bound and a threshold give pass, fail or abstain. Start in `gate`; `defaults` lists them."""
