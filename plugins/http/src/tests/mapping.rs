//! Which request goes where, and what is wrong with a config.

use crate::{
    Http, Settings,
    host::Reply,
    map::{Found, Map, Paths},
    respond,
};
use http::Method;
use mycelia_http_message as message;
use mycelia_plugin::{Error, ErrorCode, Handled, Subsystem};
use std::time::Duration;

fn map(entries: &str) -> Map {
    let options =
        ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let config = format!("(listen: \"127.0.0.1:0\", map: [{entries}])");
    let settings: Settings = options.from_str(&config).unwrap();
    Map::new(settings.map).unwrap()
}

/// `KIND DETAIL`: where a request goes, or the methods its path has.
fn found(map: &Map, request: &str) -> String {
    let (method, path) = request.split_once(' ').unwrap();
    let client = "::ffff:10.0.0.7".parse().unwrap();
    match map.find(&Method::from_bytes(method.as_bytes()).unwrap(), path, client) {
        Found::Rule(_, Paths { guard: None, to }) => to,
        Found::Rule(_, Paths { guard: Some(guard), to }) => format!("{guard} {to}"),
        Found::OtherMethods(allow) => format!("405 {allow}"),
        Found::Nothing => "404".into(),
    }
}

#[test]
fn requests_find_their_way() {
    let map = map(r#"
        (method: "GET", path: "/", to: "site://"),
        (method: "PUT", path: "/kv/{key}", to: "kv://put/{key}"),
        (method: "GET", path: "/kv/{key}", to: "kv://get/{key}"),
        (method: "GET", path: "/kv/keys", to: "kv://keys"),
        (method: "GET", path: "/{a}/{b}/x", to: "swap://{b}/{a}-{b}.txt"),
        (method: "GET", path: "/files/{*rest}", to: "files://read/{rest}"),
        (method: "HEAD", path: "/files/{*rest}", to: "files://size/{*rest}"),
        (method: "POST", path: "/a%20b", to: "space://"),
        (method: "DELETE", path: "/{*all}", to: "bin://{*all}"),
        (method: "PURGE", path: "/{*all}", to: "bin://purge/{*all}"),
        (method: "POST", path: "/buy/{item}", to: "shop://buy/{item}", guard: "limiter://take/{client}/{item}"),
        (method: "POST", path: "/ask", to: "shop://ask", guard: "limiter://take"),
    "#);
    for (request, expect) in [
        ("GET /", "site://"),
        ("PUT /kv/a", "kv://put/a"),
        ("PUT /kv/a%2Fb%00", "kv://put/a%2Fb%00"),
        ("PUT /kv/{key}", "kv://put/{key}"),
        ("PUT /kv/é", "kv://put/é"),
        ("GET /kv/a", "kv://get/a"),
        ("HEAD /kv/a", "kv://get/a"),
        ("GET /kv/keys", "kv://keys"),
        ("PUT /kv/keys", "kv://put/keys"),
        ("GET /1/2/x", "swap://2/1-2.txt"),
        ("GET /kv/2/x", "swap://2/kv-2.txt"),
        ("GET /files/a/x", "files://read/a/x"),
        ("GET /files/a//b/", "files://read/a//b/"),
        ("HEAD /files/a", "files://size/a"),
        ("POST /a%20b", "space://"),
        ("DELETE /kv/a", "bin://kv/a"),
        ("PURGE /any", "bin://purge/any"),
        ("POST /buy/tea", "limiter://take/10.0.0.7/tea shop://buy/tea"),
        ("POST /ask", "limiter://take shop://ask"),
        ("POST /", "405 GET, HEAD"),
        ("POST /kv/a", "405 DELETE, GET, HEAD, PURGE, PUT"),
        ("OPTIONS /any", "405 DELETE, PURGE"),
        ("purge /any", "405 DELETE, PURGE"),
        ("PUT /", "405 GET, HEAD"),
        ("POST /a b", "405 DELETE, PURGE"),
        ("GET *", "404"),
        ("GET ", "404"),
        ("DELETE /", "405 GET, HEAD"),
    ] {
        assert_eq!(found(&map, request), expect, "{request}");
    }
}

#[test]
fn empty_segments_are_no_parameters() {
    let map = map(r#"(method: "GET", path: "/kv/{key}", to: "kv://get/{key}")"#);
    for request in
        ["GET /kv", "GET /kv/", "GET /kv//", "GET //kv/a", "GET /kv/a/", "GET kv/a", "GET /KV/a"]
    {
        assert_eq!(found(&map, request), "404", "{request}");
    }
}

fn refusal(config: &str) -> String {
    let settings = ron::Options::default()
        .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
        .from_str::<Settings>(config)
        .map_err(Error::from);
    match settings.and_then(Http::create) {
        Ok(_) => "accepted".into(),
        Err(error) => error.text.clone(),
    }
}

#[test]
fn bad_entries_are_named() {
    for (entry, expect) in [
        (r#"method: "GET", path: "/a", to: "a://b", within: "2s", pass: Request"#, "accepted"),
        (
            r#"method: "get", path: "/a", to: "a://b""#,
            "`get /a`: `get` is no method; write one in capitals, such as `GET`",
        ),
        (
            r#"method: "", path: "/a", to: "a://b""#,
            "` /a`: `` is no method; write one in capitals, such as `GET`",
        ),
        (r#"method: "CONNECT", path: "/a", to: "a://b""#, "asks for a tunnel"),
        (
            r#"method: "GET", path: "a", to: "a://b""#,
            "`GET a`: `path` is `a`; begin it with a slash",
        ),
        (r#"method: "GET", path: "", to: "a://b""#, "begin it with a slash"),
        (r#"method: "GET", path: "/a//b", to: "a://b""#, "`path` has an empty segment"),
        (r#"method: "GET", path: "/a/", to: "a://b""#, "`path` has an empty segment"),
        (
            r#"method: "GET", path: "/a/{}", to: "a://b""#,
            "`{}` is no parameter; write one such as `{key}`",
        ),
        (r#"method: "GET", path: "/a/{1}", to: "a://b""#, "`{1}` is no parameter"),
        (r#"method: "GET", path: "/a/{*}", to: "a://b""#, "`{}` is no parameter"),
        (r#"method: "GET", path: "/a/{b-c}", to: "a://b""#, "`{b-c}` is no parameter"),
        (r#"method: "GET", path: "/a/x{b}", to: "a://b""#, "`x{b}` mixes a parameter with text"),
        (r#"method: "GET", path: "/a/*", to: "a://b""#, "`*` mixes a parameter with text"),
        (
            r#"method: "GET", path: "/a b", to: "a://b""#,
            "`a b` is in no request's path; write it percent-encoded",
        ),
        (r#"method: "GET", path: "/é", to: "a://b""#, "`é` is in no request's path"),
        (r#"method: "GET", path: "/a?b=c", to: "a://b""#, "`a?b=c` is in no request's path"),
        (r#"method: "GET", path: "/{a}/{a}", to: "a://b""#, "`path` has the parameter `a` twice"),
        (r#"method: "GET", path: "/{*a}/b", to: "a://b""#, "a tail is the last segment"),
        (
            r#"method: "GET", path: "/a", to: "a""#,
            "`to` is `a`, which is no path: it has no `://`; write one such as `kv://get/{key}`",
        ),
        (r#"method: "GET", path: "/a", to: "://b""#, "a subsystem's name has letters"),
        (r#"method: "GET", path: "/{a}", to: "{a}://b""#, "a subsystem's name has letters"),
        (r#"method: "GET", path: "/a", to: "a b://b""#, "a subsystem's name has letters"),
        (r#"method: "GET", path: "/a", to: "a://b//c""#, "it has an empty segment"),
        (r#"method: "GET", path: "/a", to: "a://b/""#, "it has an empty segment"),
        (r#"method: "GET", path: "/a", to: "a:///""#, "it has an empty segment"),
        (r#"method: "GET", path: "/a", to: "a://b\tc""#, "it has a control character"),
        (r#"method: "GET", path: "/{a}", to: "a://{a""#, "a brace is not closed"),
        (r#"method: "GET", path: "/{a}", to: "a://a}""#, "a brace is not opened"),
        (
            r#"method: "GET", path: "/{a}/{b}", to: "a://{c}""#,
            "`to` names `{c}`, but `path` has `{a}`, `{b}`",
        ),
        (
            r#"method: "GET", path: "/a", to: "a://{c}""#,
            "`to` names `{c}`, but `path` has no parameters",
        ),
        (r#"method: "GET", path: "/a", to: "a://b", guard: "l://{client}""#, "accepted"),
        (
            r#"method: "GET", path: "/a", to: "a://b", guard: "l""#,
            "`GET /a`: `guard` is `l`, which is no path: it has no `://`",
        ),
        (
            r#"method: "GET", path: "/{a}", to: "a://b", guard: "l://{ip}""#,
            "`guard` names `{ip}`, but `path` has `{a}`, `{client}`",
        ),
        (
            r#"method: "GET", path: "/a", to: "a://{client}""#,
            "`to` names `{client}`, but `path` has",
        ),
        (
            r#"method: "GET", path: "/{client}", to: "a://b", guard: "l://{client}""#,
            "`path` has a `{client}` of its own; name it otherwise",
        ),
        (r#"method: "GET", path: "/a", to: "a://b", within: "0s""#, "`within` is zero"),
        (
            r#"method: "GET", path: "/a", to: "a://b", within: "soon""#,
            "`soon` is no duration: write a number and a unit",
        ),
        (r#"method: "GET", path: "/a", to: "a://b", pass: Head"#, "Head"),
        (r#"method: "GET", path: "/a", to: "a://b", pas: Body"#, "pas"),
        (
            r#"method: "GET", path: "/a/{x}", to: "a://b"), (method: "GET", path: "/a/{y}", to: "a://c""#,
            "`GET /a/{x}` and `GET /a/{y}` match the same requests",
        ),
        (
            r#"method: "get", path: "/a", to: "a://b"), (method: "GET", path: "b", to: "a://c""#,
            "such as `GET`; `GET b`: `path` is",
        ),
        (
            r#"method: "GET", path: "/a/{x}", to: "a://b"), (method: "HEAD", path: "/a/{y}", to: "a://c""#,
            "accepted",
        ),
        (
            r#"method: "GET", path: "/a/{x}", to: "a://b"), (method: "GET", path: "/a/{*y}", to: "a://c""#,
            "accepted",
        ),
    ] {
        let text = refusal(&format!("(listen: \"127.0.0.1:0\", map: [({entry})])"));
        assert!(text.contains(expect), "{entry}\n  {text}\n  {expect}");
    }
}

#[test]
fn bad_limits_are_named() {
    let entry = r#"(method: "GET", path: "/a", to: "a://b")"#;
    for (words, expect) in [
        (
            r#"listen: "127.0.0.1:0", body_limit: "0B", header_limit: "8KiB", connections: 1"#,
            "accepted",
        ),
        (r#"listen: "localhost:80", idle_timeout: "1ms", drain_timeout: "24h""#, "accepted"),
        (
            r#"connections: 1"#,
            "`listen` is ``, which is no address; write one with a port, such as \"127.0.0.1:8080\"",
        ),
        (r#"listen: "127.0.0.1""#, "which is no address"),
        (r#"listen: "127.0.0.1:http""#, "which is no address"),
        (r#"listen: "127.0.0.1:0", connections: 0"#, "`connections` is 0; write 1 or more"),
        (
            r#"listen: "127.0.0.1:0", header_limit: "1KiB""#,
            "`header_limit` is out of range; write \"8KiB\" to \"1MiB\"",
        ),
        (
            r#"listen: "127.0.0.1:0", body_limit: "1MB""#,
            "`1MB` is no size: write a number and a unit (B, KiB, MiB, GiB)",
        ),
        (r#"listen: "127.0.0.1:0", body_limit: "99999999999GiB""#, "is no size"),
        (
            r#"listen: "127.0.0.1:0", header_timeout: "0s""#,
            "`header_timeout` is out of range; write \"1ms\" to \"24h\"",
        ),
        (r#"listen: "127.0.0.1:0", idle_timeout: "25h""#, "`idle_timeout` is out of range"),
        (r#"listen: "127.0.0.1:0", body_timeout: "5""#, "`5` is no duration"),
        (r#"listen: "127.0.0.1:0", conections: 1"#, "conections"),
    ] {
        let text = refusal(&format!("({words}, map: [{entry}])"));
        assert!(text.contains(expect), "{words}\n  {text}\n  {expect}");
    }
    assert!(refusal(r#"(listen: "127.0.0.1:0")"#).contains("`map` has no entries"));
}

#[test]
fn errors_become_statuses() {
    let second = Duration::from_secs(1);
    for (code, handled, retry_after, status, seconds) in [
        (ErrorCode::NotFound, Handled::Yes, None, 404, None),
        (ErrorCode::Denied, Handled::No, None, 403, None),
        (ErrorCode::Full, Handled::Yes, Some(second * 3 / 2), 429, Some("2")),
        (ErrorCode::Full, Handled::Yes, Some(second * 2), 429, Some("2")),
        (ErrorCode::Full, Handled::Unknown, Some(second / 1000), 503, Some("1")),
        (ErrorCode::Full, Handled::No, None, 503, Some("1")),
        (ErrorCode::Busy, Handled::No, None, 503, Some("1")),
        (ErrorCode::Deadline, Handled::Unknown, Some(second), 504, None),
        (ErrorCode::Failed, Handled::Yes, Some(second), 500, None),
    ] {
        let mut error = Error::new(code, "\"why\"\n").handled(handled);
        error.retry_after = retry_after;
        let response = respond::of_error(&error);
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(response.status(), status, "{code}");
        assert_eq!(header("retry-after"), seconds, "{code}");
        assert_eq!(header("content-type"), Some("application/json"));
    }
}

#[test]
fn replies_become_responses() {
    for (body, is_json, status, content_type) in [
        (&b"bytes"[..], false, 200, Some("application/octet-stream")),
        (b"", false, 200, Some("application/octet-stream")),
        (b"null", false, 200, Some("application/octet-stream")),
        (b"7", true, 200, Some("application/json")),
        (b"null", true, 204, None),
    ] {
        let response = respond::of_reply(Reply { body: body.to_vec(), is_json });
        assert_eq!(response.status(), status);
        assert_eq!(
            response.headers().get("content-type").map(|value| value.to_str().unwrap()),
            content_type
        );
    }
}

#[test]
fn a_handlers_response_is_checked() {
    let response = message::Response::new(301)
        .header("Location", "/x")
        .header("set-cookie", "a=1")
        .header("Set-Cookie", "b=2")
        .header("Content-Length", "99")
        .header("connection", "upgrade")
        .body("x");
    let response = respond::of_message(response).unwrap();
    assert_eq!(response.status(), 301);
    let names: Vec<&str> = response.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["location", "set-cookie", "content-type"]);
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    for (response, expect) in [
        (message::Response::new(99), "the status 99, but 200 to 599"),
        (message::Response::new(101), "the status 101"),
        (message::Response::new(1000), "the status 1000"),
        (message::Response::new(200).header("a b", "c"), "the bad header name `a b`"),
        (message::Response::new(200).header("", "c"), "the bad header name ``"),
        (message::Response::new(200).header("a", "b\r\nc: d"), "a bad value of the header `a`"),
    ] {
        let error = respond::of_message(response).unwrap_err();
        assert!(error.text.contains(expect), "{}", error.text);
        assert_eq!(respond::of_error(&error).status(), 502);
    }
}
