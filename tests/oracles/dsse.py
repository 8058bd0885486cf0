"""DSSE by securesystemslib, and in-toto statements by in-toto-attestation.

A line of JSON in, a line of JSON out. {"verify": ENVELOPE, "keys": [PEM, ...]} answers which of the keys
have signed, and what in-toto reads; {"sign": STATEMENT, "seed": HEX, "keyid": ID} answers with two
envelopes: one over these bytes, one over the bytes that in-toto makes of the same statement. What is refused answers with {"refused": WHY}.
"""

import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def verify(question):
    envelope = Envelope.from_dict(json.loads(question["verify"]))
    keys = [
        SSlibKey.from_crypto(load_pem_public_key(key["pem"].encode()), keyid=key["keyid"])
        for key in question["keys"]
    ]
    signed = envelope.verify(keys, len(keys))
    statement = json_format.Parse(envelope.payload.decode(), statement_pb2.Statement())
    Statement.copy_from_pb(statement).validate()
    return {
        "signed": sorted(signed),
        "type": envelope.payload_type,
        "predicate-type": statement.predicate_type,
        "subjects": [[it.name, dict(it.digest)] for it in statement.subject],
        "predicate": json_format.MessageToDict(statement.predicate),
    }


def sign(question):
    said = json.loads(question["sign"])
    subjects = [
        ResourceDescriptor(name=it["name"], digest=it["digest"]).pb for it in said["subject"]
    ]
    statement = Statement(subjects, said["predicateType"], said["predicate"])
    statement.validate()
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(question["seed"]))
    public = SSlibKey.from_crypto(private.public_key(), keyid=question["keyid"])
    envelopes = []
    for payload in question["sign"], json_format.MessageToJson(statement.pb, indent=None):
        envelope = Envelope(payload.encode(), PAYLOAD_TYPE, {})
        envelope.sign(CryptoSigner(private, public))
        envelopes.append(json.dumps(envelope.to_dict()))
    return {"envelopes": envelopes}


for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = verify(question) if "verify" in question else sign(question)
    except Exception as error:  # Whatever it is, it is the answer.
        answer = {"refused": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
