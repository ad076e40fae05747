"""`elasticache-iam token`: log in to a cache as a person, with one's own AWS identity."""

import asyncio
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from elasticache_iam.cli.options import cluster_options, namespace_option, resolve_namespace
from elasticache_iam.cli.terminal import say, write_json
from elasticache_iam.core.errors import ConfigurationError
from elasticache_iam.core.times import rfc3339

if TYPE_CHECKING:
    from elasticache_iam.core.token import Token
    from elasticache_iam.runtime.personal import Door

_ENGINE_PORT = 6379


@click.command(short_help="Log in to a cache with your own AWS identity.")
@click.argument("user", required=False)
@namespace_option("The user's namespace")
@click.option("--cache", metavar="NAME", help="The cache's name in the UserGroup; else `main`, or the only one.")
@click.option("--user-id", metavar="ID", help="Instead of USER, without a cluster: the user's id in AWS.")
@click.option("--cache-id", metavar="ID", help="With --user-id: the cache's id in AWS; never an endpoint.")
@click.option("--region", help="With --user-id: the cache's region; else that of your AWS profile.")
@click.option("--memorydb", is_flag=True, help="With --user-id: the cache is a MemoryDB cluster.")
@click.option("--serverless", is_flag=True, help="With --user-id: the cache is a serverless one.")
@click.option("--host", help="Where the cache listens; else the cluster is asked.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port there.  [default: 6379]")
@click.option("--cacert", metavar="FILE", help="For redis-cli: whom to trust, if not a public CA.")
@click.option("--profile", help="The AWS profile to sign with.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["redis-cli", "env", "token", "json"]),
    default="redis-cli",
    show_default=True,
    help="The form; all but the first print the token.",
)
@cluster_options
@click.pass_context
def token(
    click_context: click.Context,
    user: str | None,
    *,
    namespace: str | None,
    cache: str | None,
    user_id: str | None,
    cache_id: str | None,
    region: str | None,
    memorydb: bool,
    serverless: bool,
    host: str | None,
    port: int | None,
    cacert: str | None,
    profile: str | None,
    output: str,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """Log in to a cache as USER, an ElastiCacheIAMUser, with your own AWS identity.

    Signs with the credentials that boto3 finds (AWS_PROFILE, SSO, a role ...); your identity needs a policy as
    `elasticache-iam policy connect` prints it. A token lives for 15 minutes, or until your AWS session ends; who is
    logged in stays so for up to 12 hours.

    \b
    redis-cli   a line to paste, which makes its token when it runs: none in your shell's history
    env         eval "$(elasticache-iam token USER -o env)" sets REDISCLI_AUTH
    token       only the token: the password for any client
    json        user name, token and when it ends
    """  # noqa: D301  # click's mark: keep these lines as they are
    # Not at the top: the other commands start without boto3 and the Kubernetes client.
    from dataclasses import replace  # noqa: PLC0415

    from elasticache_iam.runtime.installation import find_region  # noqa: PLC0415
    from elasticache_iam.runtime.personal import Door, find_door, mint, open_session  # noqa: PLC0415

    if (user is None) == (user_id is None):
        raise click.UsageError("say either USER, or --user-id and --cache-id", click_context)
    session = open_session(profile)
    if user_id is not None:
        if not cache_id:
            raise click.UsageError("--user-id needs --cache-id", click_context)
        where = find_region(region, session)
        door = Door(user_id, cache_id, "memorydb" if memorydb else "elasticache", where, serverless=serverless)
    else:
        here = resolve_namespace(namespace, kubeconfig=kubeconfig, context=context)
        door = asyncio.run(find_door(str(user), namespace=here, cache=cache, kubeconfig=kubeconfig, context=context))
    door = replace(door, host=host or door.host, port=port or door.port or _ENGINE_PORT)
    minted = mint(door, session, now=datetime.now(UTC))  # also where it isn't shown: is there an identity at all?
    if output == "redis-cli":
        _show_line(door, _same_call(click_context), cacert)
    else:
        _show_token(door, minted, output)


def _show_line(door: "Door", call: str, cacert: str | None) -> None:
    if not door.host:
        raise ConfigurationError("where does the cache listen? say --host; or only the token: -o token")
    trust = ("--cacert", cacert) if cacert else ()
    # -c: follows a cluster's redirections, and does nothing elsewhere.
    options = ("--tls", *trust, "-c", "-h", door.host, "-p", str(door.port), "--user", door.user_id)
    say(f'REDISCLI_AUTH="$({call})" redis-cli {shlex.join(options)}')


def _show_token(door: "Door", minted: "Token", output: str) -> None:
    ends = rfc3339(minted.expires_at)
    if output == "json":
        shown = {"username": door.user_id, "password": minted.text, "host": door.host or None, "port": door.port}
        write_json({**shown, "expiresAt": ends})
    elif output == "env":
        say(f"export REDISCLI_AUTH={shlex.quote(minted.text)}")
    else:
        say(minted.text)
    say(f"# user {door.user_id}; good until {ends}, or until your AWS session ends", err=True)


def _same_call(context: click.Context) -> str:
    """Return the command that prints only the token, with the options of this call."""
    words = [context.command_path]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name in {"output", "host", "port", "cacert"} or not value:
            continue
        if isinstance(parameter, click.Argument):
            words.append(shlex.quote(str(value)))
        elif value is True:
            words.append(parameter.opts[-1])
        else:
            words.append(f"{parameter.opts[-1]} {shlex.quote(str(value))}")
    return " ".join([*words, "-o token"])
