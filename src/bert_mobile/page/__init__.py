"""The page that answers in the browser: a folder of plain files, and how it is served.

`site/` is the page as any file server can have it; `site` joins it with models, `server` serves it
on this machine. Nothing is sent anywhere: the network runs in the visitor's browser.
"""

from bert_mobile.page.server import PageServer
from bert_mobile.page.site import ROLES, Site, gather, write_site

__all__ = ["ROLES", "PageServer", "Site", "gather", "write_site"]
