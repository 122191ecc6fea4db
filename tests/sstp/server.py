"""Runs sstp-server 0.7.2 as it is, but for two things that it has no option for.

pppd 2.5 hands out MPPE keys of 20 bytes, the first 16 of which make the key that the crypto
binding is computed with ([MS-SSTP], 3.2.5.2.4); the server takes all 20, and refuses every
client. And the time after which it asks a silent client for a sign of life is HELLO here, in
seconds, instead of 60.
"""

import os

import sstpd
from sstpd import sstp

received = sstp.SSTPProtocol.higher_layer_authentication_key_received


def received_16(self, send_key, receive_key):
    return received(self, send_key[:16], receive_key[:16])


sstp.SSTPProtocol.higher_layer_authentication_key_received = received_16
sstp.HELLO_TIMEOUT = float(os.environ.get("HELLO", 60))
sstpd.run()
