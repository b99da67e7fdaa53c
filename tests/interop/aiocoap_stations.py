"""A device and a client of one user over coaps+tcp, both by aiocoap: from sign-up to sign-off.

Reads one JSON object from standard input:

    coap, trust_anchor    where the cloud is, and the PEM that verifies it
    certificate, key      PEM files of both stations
    tls                   "1.2" or "1.3"
    device, client        {"di", "cis", "token", "provider"} of each, as a Mediator would write them
    uid                   the user
    message_bytes_max     the Max-Message-Size of both stations; what is larger goes in blocks

and prints one JSON object with what each step was answered. Does not judge: the test does.
"""

import asyncio
import json
import ssl
import sys

import aiocoap
import aiocoap.resource as resource
import cbor2
from aiocoap import Code, ContentFormat
from aiocoap.transports import rfc8323common, tcp

OCF_CBOR = ContentFormat(10000)
LIMIT_SECS = 60


def tls(facts):
    """What aiocoap asks its credentials for. They know no client certificates of their own."""
    version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[facts["tls"]]
    context = ssl.create_default_context(cafile=facts["trust_anchor"])
    context.load_cert_chain(facts["certificate"], facts["key"])
    context.minimum_version = context.maximum_version = version
    return context


class Light(resource.ObservableResource):
    def __init__(self):
        super().__init__()
        self.value = False

    def representation(self):
        payload = cbor2.dumps({"rt": ["oic.r.switch.binary"], "value": self.value})
        return aiocoap.Message(code=Code.CONTENT, payload=payload, content_format=OCF_CBOR)

    async def render_get(self, _request):
        return self.representation()

    async def render_post(self, request):
        self.value = cbor2.loads(request.payload)["value"]
        self.updated_state()
        answer = self.representation()
        answer.code = Code.CHANGED
        return answer


class Note(resource.Resource):
    """Keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.value = b""

    async def render_get(self, _request):
        return aiocoap.Message(code=Code.CONTENT, payload=self.value, content_format=OCF_CBOR)

    async def render_post(self, request):
        self.value = request.payload
        return aiocoap.Message(code=Code.CHANGED)


def count_blocks():
    """Counts messages with block options, of both stations and in both directions."""
    counts = {"sent": 0, "received": 0}

    def count(direction, message):
        if message.opt.block1 is not None or message.opt.block2 is not None:
            counts[direction] += 1

    send, decode = tcp.TcpConnection._send_message, tcp._decode_message

    def sending(connection, message):
        if not message.code.is_signalling():
            count("sent", message)
        send(connection, message)

    def decoding(data):
        message = decode(data)
        if not message.code.is_signalling():
            count("received", message)
        return message

    tcp.TcpConnection._send_message, tcp._decode_message = sending, decoding
    return counts


class Station:
    """One connection to the cloud."""

    def __init__(self, facts, me):
        self.facts, self.me = facts, me
        self.account = None

    async def open(self, site=None):
        self.context = await aiocoap.Context.create_client_context(transports=["tlsclient"])
        credentials = self.context.client_credentials
        credentials.ssl_client_context = lambda _scheme, _host: tls(self.facts)
        # Roles are reversed on the same connection: the cloud asks the device.
        self.context.serversite = site
        return self

    def message(self, code, path, body=None, **options):
        address = self.facts["coap"].rstrip("/")
        message = aiocoap.Message(code=code, uri=address + path, **options)
        if body is not None:
            message.payload = cbor2.dumps(body)
            message.opt.content_format = OCF_CBOR
        return message

    async def ask(self, code, path, body=None):
        return await self.context.request(self.message(code, path, body)).response

    async def sign_up(self):
        body = {"di": self.me["di"], "accesstoken": self.me["token"]}
        if self.me.get("provider"):
            body["authprovider"] = self.me["provider"]
        answer = await self.ask(Code.POST, "/oic/sec/account", body)
        self.account = told(answer)["body"] or {}
        return shown(answer)

    async def session(self, login):
        account = self.account
        body = {"di": self.me["di"], "uid": account["uid"], "accesstoken": account["accesstoken"]}
        return shown(await self.ask(Code.POST, "/oic/sec/session", {**body, "login": login}))

    async def refresh(self):
        body = {"di": self.me["di"], "uid": self.account["uid"]}
        body["refreshtoken"] = self.account["refreshtoken"]
        answer = await self.ask(Code.POST, "/oic/sec/tokenrefresh", body)
        self.account.update(told(answer)["body"] or {})
        return shown(answer)

    async def sign_off(self):
        return shown(await self.ask(Code.DELETE, "/oic/sec/account?di=" + self.me["di"]))


def told(answer):
    body = cbor2.loads(answer.payload) if answer.payload else None
    return {"code": answer.code.dotted, "format": answer.opt.content_format, "body": body}


def shown(answer):
    """What was told, without what is secret."""
    result = told(answer)
    if isinstance(result["body"], dict):
        hidden = ("accesstoken", "refreshtoken")
        body = result["body"]
        result["body"] = {k: "(hidden)" if k in hidden else v for k, v in body.items()}
    result["format"] = None if result["format"] is None else int(result["format"])
    return result


async def live(facts):
    steps = {}
    rfc8323common.RFC8323Remote._my_max_message_size = facts["message_bytes_max"]
    blocks = count_blocks()
    light, site = Light(), resource.Site()
    site.add_resource(["light"], light)
    site.add_resource(["note"], Note())
    device = await Station(facts, facts["device"]).open(site)
    steps["device signs up"] = await device.sign_up()
    steps["device signs in"] = await device.session(True)
    link = {"href": "/light", "rt": ["oic.r.switch.binary"], "if": ["oic.if.a", "oic.if.baseline"]}
    directory = {"di": device.me["di"], "links": [{**link, "p": {"bm": 3}}], "ttl": 86400}
    steps["device publishes"] = shown(await device.ask(Code.POST, "/oic/rd", directory))

    client = await Station(facts, facts["client"]).open()
    steps["client signs up"] = await client.sign_up()
    steps["client signs in"] = await client.session(True)
    steps["client discovers"] = shown(await client.ask(Code.GET, "/oic/res?rt=oic.r.switch.binary"))
    path = "/" + device.me["di"] + "/light"
    steps["client retrieves"] = shown(await client.ask(Code.GET, path))

    observation = client.context.request(client.message(Code.GET, path, observe=0))
    steps["client observes"] = shown(await observation.response)
    notifications = aiter(observation.observation)
    steps["client updates"] = shown(await client.ask(Code.POST, path, {"value": True}))
    steps["client is notified"] = shown(await anext(notifications))
    observation.observation.cancel()
    steps["client retrieves again"] = shown(await client.ask(Code.GET, path))

    note = "/" + device.me["di"] + "/note"
    text = "".join(chr(97 + at // 100 % 26) for at in range(20000))
    stored = await client.ask(Code.POST, note, {"text": text})
    steps["client stores a long text"] = {"code": stored.code.dotted}
    read = await client.ask(Code.GET, note)
    is_same = cbor2.loads(read.payload) == {"text": text}
    steps["client reads a long text"] = {"code": read.code.dotted, "same": is_same}
    links = [{**link, "href": "/link/%d" % number} for number in range(60)]
    many = await device.ask(Code.POST, "/oic/rd", {**directory, "links": links})
    steps["device publishes many links"] = {"code": many.code.dotted}
    found = await client.ask(Code.GET, "/oic/res")
    steps["client discovers many links"] = {"code": found.code.dotted, "count": len(cbor2.loads(found.payload))}
    steps["messages with blocks"] = dict(blocks)

    steps["device refreshes"] = await device.refresh()
    steps["device signs in again"] = await device.session(True)
    steps["device unpublishes"] = shown(
        await device.ask(Code.DELETE, "/oic/rd?di=" + device.me["di"])
    )
    steps["client discovers nothing"] = shown(await client.ask(Code.GET, "/oic/res?rt=oic.r.switch.binary"))
    steps["device signs out"] = await device.session(False)
    steps["device signs in at last"] = await device.session(True)
    steps["device signs off"] = await device.sign_off()
    await client.context.shutdown()
    await device.context.shutdown()
    return steps


def main():
    facts = json.load(sys.stdin)
    steps = asyncio.run(asyncio.wait_for(live(facts), LIMIT_SECS))
    json.dump(steps, sys.stdout)


main()
