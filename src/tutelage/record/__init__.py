"""`tutelage record`: a proxy before any endpoint, which makes the conversations of other agents into traces.

Two processes. The proxy (`proxy`) hands bytes on and, before a client sees the end of an answer, puts the exchange into
the spool, a folder (`spool`). The recorder (`drain`) takes exchanges from there and finds the trace that each belongs
to (`recorder`, `lineages`). So nothing of the store, its absence included, reaches the agent's traffic.
"""

from tutelage.record.run import run_record

__all__ = ["run_record"]
