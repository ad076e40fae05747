"""HTTP requests of AWS clients in, calls out; results and errors in, HTTP responses out.

Everything comes from botocore's API models. moto's `core.parse` and `core.serialize` are botocore's own parser and
serialiser turned round (a server's instead of a client's), for the protocols query, json and rest-json; nothing else
of moto is used. For rpc-v2-cbor, which moto lacks and two of our services offer beside JSON (boto3 takes JSON, other
SDKs may not), botocore's own halves serve: CBOR looks the same in both directions.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape, quoteattr

from botocore.model import DenormalizedStructureBuilder
from botocore.parsers import ResponseParserError, RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer
from botocore.utils import parse_timestamp
from botocore.validate import ParamValidator
from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import JSONParser, QueryParser, RequestParserError, RestJSONParser
from moto.core.serialize import JSONSerializer, QuerySerializer, RestJSONSerializer, SerializationContext
from moto.core.utils import get_service_model
from werkzeug.datastructures import Headers, MultiDict

from elasticache_iam_sandbox.wire.signature import Authorization, HttpRequest, parse_authorization
from elasticache_iam_sandbox.world.call import AwsError

SERVICES = ("elasticache", "iam", "sts", "resourcegroupstaggingapi", "eks", "memorydb")
"""botocore's names of the services whose requests are understood; what the world does with them is its business."""

CBOR = "smithy-rpc-v2-cbor"

JSON_CODES: Mapping[str, str] = {
    "AccessDenied": "AccessDeniedException",
    "ExpiredToken": "ExpiredTokenException",
    "IncompleteSignature": "IncompleteSignatureException",
    "InternalFailure": "InternalFailure",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "Throttling": "ThrottlingException",
}
"""AWS's common errors have other codes in the JSON and CBOR protocols than in the query protocol."""

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""XML 1.0, "Char". Escaped they are as forbidden; no client could read the answer."""
_AMAZON_HOST = re.compile(r"^(?P<prefix>[a-z-]+)\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?$")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer as it goes to the socket, or to boto3 in process."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is for: found without reading its parameters, and enough to word an error.

    Attributes:
        service: botocore's name.
        operation: As in the API model.
        protocol: query, json, rest-json or smithy-rpc-v2-cbor, as the client chose.
        region: Of the signature's scope, else of the host name, else the endpoint's default.
        authorization: The parsed header; None for a request that carries no signature.
        uri_parameters: What the path of a REST request tells.
    """

    service: str
    operation: str
    protocol: str
    region: str
    authorization: Authorization | None
    uri_parameters: Mapping[str, str]

    @property
    def model(self) -> OperationModel:
        """The operation in botocore's model."""
        model: OperationModel = get_service_model(self.service).operation_model(self.operation)
        return model

    @property
    def needs_signature(self) -> bool:
        """Whether AWS wants this operation signed: all but the STS calls that carry a foreign proof."""
        return bool(self.model.auth_type != "none")


def identify(request: HttpRequest, *, default_region: str) -> Target:
    """Return what the request is for.

    The service is known from the signature's scope, else from `X-Amz-Target`, from the path of an RPC, from the host
    name, or from the API version that every query request carries.

    Raises:
        AwsError: No service or operation of ours; or the Authorization header cannot be read.
    """
    authorization = parse_authorization(request)
    parts = urlsplit(request.url)
    host = _AMAZON_HOST.match(parts.hostname or "")
    region = authorization.region if authorization else host["region"] if host else default_region

    def target(service: str, operation: str, protocol: str, uri: Mapping[str, str] | None = None) -> Target:
        if operation not in get_service_model(service).operation_names:
            raise AwsError("InvalidAction", f"Could not find operation {operation} of {service} in this version.")
        return Target(service, operation, protocol, region, authorization, uri or {})

    if rpc := re.fullmatch(r"/service/([^/]+)/operation/([^/]+)", parts.path):
        return target(_service_by_target(rpc[1]), rpc[2], CBOR)
    if target_header := request.headers.get("x-amz-target"):
        prefix, _, operation = target_header.rpartition(".")
        return target(_service_by_target(prefix), operation, "json")
    query = _query_values(request) if _is_query(request) else {}
    if "Action" in query:
        return target(_service_of_query(query, authorization), query["Action"], "query")
    signing_name = authorization.service if authorization else host["prefix"] if host else ""
    if signing_name == "eks" or (not signing_name and parts.path.startswith("/clusters")):
        operation, uri = _route("eks", request.method, parts.path)
        return target("eks", operation, "rest-json", uri)
    raise AwsError("UnknownOperationException", "The sandbox does not know what this request is for.", 404)


def parse_parameters(request: HttpRequest, target: Target) -> dict[str, Any]:
    """Return the parameters as boto3 takes them; times are aware, in UTC.

    Raises:
        AwsError: The body cannot be read, or has a parameter that the API model does not know.
    """
    try:
        match target.protocol:
            case "query":
                return _parse_query(request, target.model)
            case "smithy-rpc-v2-cbor":
                return _parse_cbor(request, target.model)
            case "json":
                return _parse_with(JSONParser, request, target)
            case _:
                return _parse_with(RestJSONParser, request, target)
    except (ValueError, TypeError, AttributeError, RequestParserError, ResponseParserError) as error:
        raise AwsError("MalformedInput", f"The request's body is malformed: {type(error).__name__}") from error


def render_result(target: Target, result: Mapping[str, Any]) -> HttpResponse:
    """Return the answer to a call that went well.

    Raises:
        TypeError: The result is not of the model's output shape: a fault of the world, and loud.
    """
    model, request_id = target.model, str(uuid.uuid4())
    shape = model.output_shape
    if shape is None and result:
        raise TypeError(f"{target.operation} has no output, the world answered {sorted(result)}")
    if shape is not None and (faults := _shape_faults(result, shape)):
        raise TypeError(f"the world's answer to {target.operation} is not of the model: {'; '.join(faults)}")
    if target.protocol == CBOR:
        return HttpResponse(200, _cbor_headers(request_id), _encode_cbor(result, shape) if shape else b"")
    serializer = {"query": QuerySerializer, "json": JSONSerializer, "rest-json": RestJSONSerializer}[target.protocol]
    response = serializer(model, context=SerializationContext(request_id)).serialize(result)
    headers = {**response["headers"], "x-amzn-RequestId": request_id}
    body = response["body"]
    text = body if isinstance(body, str) else body.decode()
    body = (_writable(text) if target.protocol == "query" else text).encode()
    return HttpResponse(response["status_code"], headers, body)


def render_error(target: Target | None, error: AwsError) -> HttpResponse:
    """Return the error as the service words it in the client's protocol; XML if not even the service is known."""
    request_id = str(uuid.uuid4())
    if target is None or target.protocol == "query":
        namespace = get_service_model(target.service).metadata.get("xmlNamespace", "") if target else ""
        return HttpResponse(
            error.http_status,
            {"Content-Type": "text/xml", "x-amzn-RequestId": request_id},
            _error_document(error, namespace, request_id),
        )
    code = JSON_CODES.get(error.code, error.code)
    # The RPC protocols answer 400 to what the query protocol answers 403.
    status = 400 if error.http_status == 403 and target.protocol != "rest-json" else error.http_status  # noqa: PLR2004  # Forbidden
    body = {"__type": code, "message": error.message}
    if target.protocol == CBOR:
        return HttpResponse(status, _cbor_headers(request_id), _encode_cbor(body, _ERROR_SHAPE))
    content_type = "application/json" if target.protocol == "rest-json" else "application/x-amz-json-1.1"
    return HttpResponse(
        status,
        {"Content-Type": content_type, "x-amzn-ErrorType": code, "x-amzn-RequestId": request_id},
        json.dumps(body).encode(),
    )


# -- finding the service ------------------------------------------------------------------------------------------


@cache
def _services_by(metadata_key: str) -> Mapping[str, str]:
    models: list[ServiceModel] = [get_service_model(name) for name in SERVICES]
    return {m.metadata[metadata_key]: m.service_name for m in models if metadata_key in m.metadata}


def _service_by_target(prefix: str) -> str:
    try:
        return _services_by("targetPrefix")[prefix]
    except KeyError:
        raise AwsError("UnknownOperationException", f"The sandbox has no service {prefix}.", 404) from None


def _service_of_query(query: Mapping[str, str], authorization: Authorization | None) -> str:
    signing_name = authorization.service if authorization else ""
    if signing_name in SERVICES:
        return signing_name
    by_version = {get_service_model(name).api_version: name for name in ("elasticache", "iam", "sts")}
    try:
        return by_version[query.get("Version", "")]
    except KeyError:
        raise AwsError("InvalidAction", "The sandbox knows no service with this API version.") from None


@cache
def _routes(service: str) -> tuple[tuple[str, re.Pattern[str], str], ...]:
    """Return (method, path pattern, operation), the most specific first: literals before placeholders."""
    model = get_service_model(service)
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path = http["requestUri"].split("?")[0]
        pattern = re.sub(r"\{(\w+)\\?\}", r"(?P<\1>[^/]+)", re.escape(path).replace(r"\{", "{").replace(r"\}", "}"))
        found.append((path.count("{"), http["method"], re.compile(pattern), name))
    return tuple((method, pattern, name) for _, method, pattern, name in sorted(found, key=lambda route: route[0]))


def _route(service: str, method: str, path: str) -> tuple[str, dict[str, str]]:
    for route_method, pattern, operation in _routes(service):
        if route_method == method and (match := pattern.fullmatch(path)):
            return operation, {name: unquote(value) for name, value in match.groupdict().items()}
    raise AwsError("UnknownOperationException", f"{service} has no operation {method} {path}.", 404)


# -- reading ------------------------------------------------------------------------------------------------------


def _is_query(request: HttpRequest) -> bool:
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return form or "Action=" in urlsplit(request.url).query


def _query_values(request: HttpRequest) -> dict[str, str]:
    values = dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    values.update(parse_qsl(request.body.decode("utf-8", errors="replace"), keep_blank_values=True))
    return values


def _aware(value: Any) -> datetime:
    return parse_timestamp(value).astimezone(UTC)


def _parse_query(request: HttpRequest, model: OperationModel) -> dict[str, Any]:
    values = _query_values(request)
    shape = model.input_shape
    known = {member.serialization.get("name", name) for name, member in shape.members.items()} if shape else set()
    if unknown := {key.split(".")[0] for key in values} - known - {"Action", "Version"}:
        raise AwsError("UnknownParameter", f"{model.name} has no parameter {', '.join(sorted(unknown))}.")
    parser: Any = QueryParser(model, timestamp_parser=_aware)
    return dict(parser.parse({"values": values}))


def _parse_with(parser: Callable[..., Any], request: HttpRequest, target: Target) -> dict[str, Any]:
    parsed = parser(target.model, timestamp_parser=_aware).parse(
        {
            "body": request.body,
            "headers": Headers(list(request.headers.items())),
            "url_params": target.uri_parameters,
            "values": MultiDict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True)),
        }
    )
    return {name: value for name, value in parsed.items() if value is not None}


def _parse_cbor(request: HttpRequest, model: OperationModel) -> dict[str, Any]:
    shape = model.input_shape
    if shape is None or not request.body:
        return {}
    parser: Any = RpcV2CBORParser()
    document = parser.parse_data_item(parser.get_peekable_stream_from_bytes(request.body))
    if unknown := set(document) - set(shape.members):
        raise AwsError("ValidationException", f"{model.name} has no parameter {', '.join(sorted(unknown))}.")
    parsed: dict[str, Any] = parser._parse_shape(shape, document)  # noqa: SLF001  # only `parse` is public, for answers
    return parsed


# -- writing ------------------------------------------------------------------------------------------------------

_ERROR_SHAPE = (
    DenormalizedStructureBuilder()
    .with_members({"__type": {"type": "string"}, "message": {"type": "string"}})
    .build_model()
)


def _shape_faults(result: Mapping[str, Any], shape: Any) -> list[str]:
    """Return in what the result is not of this shape. Lengths and ranges bind requests; AWS's answers break them."""
    report = ParamValidator().validate(result, shape)
    if not report.has_errors():
        return []
    # The report quotes values, which may be secret; names and types are enough.
    lines = re.sub(r", value: .*?, (?=type:)", ", ", report.generate_report(), flags=re.DOTALL).splitlines()
    return [line for line in lines if line.startswith(("Unknown parameter", "Missing required", "Invalid type"))]


def _encode_cbor(value: Mapping[str, Any], shape: Any) -> bytes:
    encoded = bytearray()
    serializer: Any = RpcV2CBORSerializer()
    serializer._serialize_data_item(encoded, value, shape)  # noqa: SLF001  # the public door writes whole requests only
    return bytes(encoded)


def _cbor_headers(request_id: str) -> dict[str, str]:
    return {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor", "x-amzn-RequestId": request_id}


def _error_document(error: AwsError, namespace: str, request_id: str) -> bytes:
    kind = "Receiver" if error.http_status >= 500 else "Sender"  # noqa: PLR2004  # the first status that blames the server
    xmlns = f" xmlns={quoteattr(namespace)}" if namespace else ""
    return (
        f"<ErrorResponse{xmlns}><Error><Type>{kind}</Type><Code>{escape(error.code)}</Code>"
        f"<Message>{escape(_writable(error.message))}</Message></Error><RequestId>{request_id}</RequestId>"
        "</ErrorResponse>"
    ).encode()


def _writable(text: str) -> str:
    """Return a text with a replacement character for each that XML can't hold."""
    return _NOT_IN_XML.sub("\ufffd", text)
