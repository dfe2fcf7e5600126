"""GBCS messages in and out, one tunnel for each device, from either end (GBCS 10.2.2; ZSE D.6)."""

from chf.tunnel.client import TunnelClient
from chf.tunnel.effects import (
    Alarm,
    DiscoverEndpoint,
    Effect,
    Effects,
    MessageDelivered,
    MessageFailed,
    MessageReceived,
    ReplyToken,
    Send,
    TunnelLost,
    TunnelOpened,
    TunnelRecord,
)
from chf.tunnel.server import TunnelServer
from chf.tunnel.session import TunnelSettings
from chf.tunnel.transitions import State
