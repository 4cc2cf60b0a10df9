package config

import (
	"errors"
	"strings"
	"testing"
)

const signatureHint = `write v1, v1a, rfc9421 or none, {"legacy": "github"} (or stripe, slack, shopify), {"legacy": {"header": …}}, or a list of several`

// Each case is a file, and what is said about it: a line for each problem, with
// its hint behind " | ".
var wrongFiles = []struct{ name, text, want string }{
	{"unknown key", "lisen: x", "1:1: lisen: unknown key | did you mean listen?"},
	{"unknown key of a contract", op("{relay: {}}", "callback: {urls: x}"), "7:16: operations.scan.callback.urls: unknown key | did you mean url?"},
	{"unknown key of a backend", op("{clamd: {add: 'unix:/x'}}", ""), "6:23: operations.scan.backend.clamd.add: unknown key | known here: address"},
	{"unknown kind", op("{clam: {}}", ""), "6:15: operations.scan.backend.clam: unknown kind of backend | did you mean clamd?"},
	{"syntax", "listen: [", "1:9: not valid YAML: "},
	{"duplicate key", "listen: :1\nlisten: :2", "2:1: not valid YAML: mapping key \"listen\" already defined at [1:1]"},
	{"second document", "listen: :1\n---\nlisten: :2", "3:7: there is a second document in the file | put everything in one document, without ---"},
	{"merge key", "operations:\n  <<: {}", "2:3: operations.<<: merge keys are not supported | write the keys out, or use an alias for each value"},
	{"lost alias", "listen: *here", "1:1: listen: the alias *here has no anchor | write &here before the value that is meant"},
	{"not a block", "operations: 7", "1:1: operations: must hold keys with values, but is a single value | "},
	{"not a document", "- a", "1:1: must hold keys with values, but is a list | "},
	{"not a value", "listen: {a: b}", "1:9: listen: must be a single value, but is a block of keys | "},
	{"not a list", "outbound: {allow: 10.0.0.0/8}", "1:12: outbound.allow: must be a list, but is a single value | write [a, b], or a line that begins with - for each"},
	{"empty member", "outbound: {allow: [~]}", "1:12: outbound.allow[0]: is empty | "},
	{"tag", "listen: !!binary aa", "1:9: listen: must be a single value, but is a value with a tag (!), which is not supported | "},

	{"listen", "listen: 8080", `1:9: listen: "8080" is not an address to listen on | write host:port, such as 127.0.0.1:8080, or :8080 for every address`},
	{"postgres", "store: postgres://u:p@h/db", "1:8: store: PostgreSQL is not in this version | write sqlite:FILE, such as sqlite:ringback.db"},
	{"store", "store: ringback.db", "1:8: store: names no store | write sqlite:FILE, such as sqlite:ringback.db"},
	{"s3", "bodies: s3://b/p", "1:9: bodies: S3 is not in this version | write dir:FOLDER, such as dir:ringback-bodies"},
	{"bodies", "bodies: x", "1:9: bodies: names no folder | write dir:FOLDER, such as dir:ringback-bodies"},
	{"public URL", "public_url: https://u:p@h/?q", "1:13: public_url: must have no user name | write what callers reach the gateway by, such as https://api.example.com"},
	{"prefix", "prefix: /a/", "1:9: prefix: \"/a/\" is not a path of letters, digits, '.', '_', '~' and '-' that begins with a slash and ends without one | write a path such as /.ringback"},
	{"upstream with a path", "upstream: http://h/api", "1:11: upstream: must have no path: the paths are those of the calls | write scheme, host and port, such as http://127.0.0.1:9000"},
	{"upstream", "upstream: h:9000", "1:11: upstream: must be an http or https URL | write scheme, host and port, such as http://127.0.0.1:9000"},
	{"allow", "outbound:\n  allow:\n    - 10.0.0.1/8", `3:7: outbound.allow[0]: outbound allow "10.0.0.1/8": has bits beyond its length; 10.0.0.0/8 is meant | write a prefix (10.20.0.0/16), an address or a host name, with :PORT for that port only`},
	{"proxy", "outbound: {proxy: 'socks5://u:hunter2@h:1080'}", "1:19: outbound.proxy: the proxy must be a URL such as http://proxy.internal:4750 | write http://HOST:PORT, or https, with NAME:PASSWORD@"},
	{"proxy that is no URL", "outbound: {proxy: 'http://u:hunter2%zz@h'}", "1:19: outbound.proxy: is no URL | write http://HOST:PORT"},
	{"proxy with a path", "outbound: {proxy: 'http://u:${SECRET}@h/x'}", "1:19: outbound.proxy: the proxy must be a URL such as "},
	{"names without a proxy", "outbound: {proxy_names: true}", "1:25: outbound.proxy_names: there is no proxy to leave names to | set outbound.proxy"},
	{"source", "outbound: {source: eth0}", `1:20: outbound.source: "eth0" is not an address | write an address of this machine`},
	{"two sources", "outbound: {source: [192.0.2.7, 192.0.2.8]}", "1:12: outbound.source: there may be one source address of each family | "},
	{"any source", "outbound: {source: '::'}", "1:20: outbound.source: :: is no address that connections can come from | "},
	{"authorities", "outbound: {ca_file: /none.pem}", "1:21: outbound.ca_file: the file cannot be read: open /none.pem: no such file or directory | it must be there"},
	{"authorities in another form", "outbound: {ca_file: problem_test.go}", "1:21: outbound.ca_file: there is no certificate in the file | a file of certificates in PEM"},
	{"bool", "outbound: {http: yes}", `1:18: outbound.http: "yes" is neither true nor false | write true or false`},
	{"admin key", "admin_key: secret", "1:12: admin_key: must be 16 to 512 characters of ASCII without blanks | make one with: openssl rand -base64 32"},
	{"admin key in a file", "admin_key: file:/none", "1:12: admin_key: the file cannot be read: file does not exist | it must be there, and readable for the user who runs ringback"},
	{"seal key", "seal_key: c2VjcmV0", "1:11: seal_key: must be 32 bytes in base64 | make one with: openssl rand -base64 32"},
	{"duration without a unit", "retention: 30", `1:12: retention: "30" is not a duration | write a number and a unit, such as 500ms, 30s, 10m, 2h or 7d`},
	{"no duration", "retention: 0d", `1:12: retention: "0d" is not more than 0 and at most 100 years | leave it out for the default`},
	{"log", "log: {level: warning, format: xml}", `1:14: log.level: "warning" is none of debug, info, warn, error | known here: debug, info, warn, error
1:31: log.format: "xml" is none of text, json | known here: text, json`},
	{"variable", "listen: ${HOST}:80", "1:9: listen: the environment variable HOST is not set | set it, or write $${ for the characters themselves"},
	{"no variable", "listen: ${a b}:80", `1:9: listen: "${a b}" names no environment variable | write ${NAME}, or $${ for the characters themselves`},
	{"what a variable holds stays secret", "listen: ${SECRET}", `1:9: listen: "${SECRET}" is not an address to listen on | write host:port, such as 127.0.0.1:8080, or :8080 for every address`},

	{"what a variable holds stays secret in a backend", op(`{command: {argv: ["${SECRET}"]}}`, ""),
		`6:25: operations.scan.backend.command.argv: "${SECRET}" is no program that can be run | docs/backends.md tells what belongs there`},

	{"signature", op("{relay: {}}", "callback: {signature: v2}"), "7:27: operations.scan.callback.signature: is none of: v1, v1a, rfc9421, none | " + signatureHint},
	{"signature in a list", op("{relay: {}}", "callback: {signature: [v1, github]}"), `7:32: operations.scan.callback.signature[1]: is no scheme by itself | write {"legacy": "github"}`},
	{"signature of a legacy scheme", op("{relay: {}}", "callback:\n      signature:\n        - legacy: {header: X-Sig, hash: md5}"),
		"9:41: operations.scan.callback.signature[0].legacy.hash: is none of: sha256, sha1, sha512 | "},
	{"unknown key of a legacy scheme", op("{relay: {}}", "callback: {signature: {legacy: {header: X, salt: 7}}}"),
		"7:28: operations.scan.callback.signature.legacy: is not the description of a scheme: unknown field \"salt\" | it has header, prefix, separator, signed, encoding, hash, timestamp_header and timestamp_format, all of them texts"},
	{"empty signature", op("{relay: {}}", "callback: {signature: []}"), "7:27: operations.scan.callback.signature: must name 1 to 8 schemes | " + signatureHint},

	{"name", "operations: {Scan: {}}", "1:14: operations.Scan: the name must be small letters, digits and _, beginning with a letter | such as scan, or scan_2"},
	{"name of an upstream's calls", "upstream: http://h\noperations: {upstream: {}}", "2:14: operations.upstream: the calls of the upstream have this name | give the operation another name"},
	{"empty operation", "operations:\n  scan:", `2:3: operations.scan.backend: must name exactly one of: clamd, command, http, relay | write one of them, such as backend: {relay: {}}
2:3: operations.scan.route: is missing | write a method and a path, such as POST /scan`},
	{"two backends", op("{relay: {}, clamd: {address: 'unix:/x'}}", ""), "6:5: operations.scan.backend: must name exactly one of: clamd, command, http, relay | write one of them, such as backend: {relay: {}}"},
	{"backend's field", op("{http: {url: 'ftp://x'}}", ""), "6:27: operations.scan.backend.http.url: must begin with http:// or https:// | docs/backends.md tells what belongs there"},
	{"backend's missing field", op("{command: {}}", ""), "6:15: operations.scan.backend.command.argv: must name a program | docs/backends.md tells what belongs there"},
	{"arguments in one text", op("{command: {argv: cat -}}", ""), "6:25: operations.scan.backend.command.argv: must be a list, but is a single value | write [a, b], or a line that begins with - for each"},
	{"parameter that the route lacks", op("{http: {url: 'http://h/{kind}'}}", ""), "6:5: operations.scan.backend: needs the parameter {kind}, which the route does not have | write {kind} in the route, too"},
	{"size", op("{relay: {}}", "max_body: 1 potato"), `7:15: operations.scan.max_body: "1 potato" is not a size | write a whole number and a unit, such as 64KiB, 100MiB or 2GiB`},
	{"count", op("{relay: {}}", "concurrency: 0"), `7:18: operations.scan.concurrency: "0" is not a number between 1 and 1000000 | write a whole number from 1`},
	{"run", op("{relay: {}}", "run: once"), `7:10: operations.scan.run: "once" is none of at_least_once, at_most_once | known here: at_least_once, at_most_once`},
	{"method", op("{relay: {}}", "callback: {method: HEAD}"), `7:24: operations.scan.callback.method: "HEAD" is none of POST, PUT, PATCH, GET, DELETE | known here: POST, PUT, PATCH, GET, DELETE`},
	{"format", op("{relay: {}}", "callback: {format: xml}"), `7:24: operations.scan.callback.format: "xml" is none of envelope, raw, thin, cloudevents, cloudevents-structured, form, query, multipart, template | known here: envelope, raw, thin, cloudevents, cloudevents-structured, form, query, multipart, template`},
	{"a GET has no body", op("{relay: {}}", "callback: {method: GET, format: raw}"), `7:37: operations.scan.callback.format: a GET has no body, and the format raw is nothing without one: it must be query or thin | docs/formats.md shows the formats, and what a template may do`},
	{"no template", op("{relay: {}}", "callback: {format: template}"), `7:24: operations.scan.callback.format: the format template needs a template | docs/formats.md shows the formats, and what a template may do`},
	{"a template that assigns", op("{relay: {}}", "callback: {format: template, template: '.a = 1'}"), `7:44: operations.scan.callback.template: a template cannot assign (=): it makes a new value | docs/formats.md shows the formats, and what a template may do`},
	{"a template that is none", op("{relay: {}}", "callback: {format: template, template: '{'}"), `7:44: operations.scan.callback.template: the template is no jq program: unexpected EOF | docs/formats.md shows the formats, and what a template may do`},
	{"event", op("{relay: {}}", "callback: {events: [succeeded, success]}"), `7:36: operations.scan.callback.events[1]: "success" is none of accepted, running, progress, succeeded, failed, canceled, expired | known here: accepted, running, progress, succeeded, failed, canceled, expired`},
	{"schedule", op("{relay: {}}", "callback: {schedule: [5s, fast]}"), `7:31: operations.scan.callback.schedule[1]: "fast" is not a duration | write a number and a unit, such as 500ms, 30s, 10m, 2h or 7d`},
	{"empty schedule", op("{relay: {}}", "callback: {schedule: []}"), `7:26: operations.scan.callback.schedule: must name at least one delay | write the delays between attempts, such as [5s, 1m], or leave it out for the default`},
	{"expression", op("{relay: {}}", "callback:\n      url: ['{$request.cookie.s}']"),
		`8:13: operations.scan.callback.url[0]: "$request.cookie.s": the source must be header.NAME, query.NAME, path.NAME, body or body#POINTER | such as {$request.query.callbackURL}; one entry may be a URL, for calls that bring none`},
	{"forbidden default", op("{relay: {}}", "callback: {url: 'https://10.0.0.1/x'}"),
		"7:21: operations.scan.callback.url[0]: the callback URL leads to an address that is not public | such as {$request.query.callbackURL}; one entry may be a URL, for calls that bring none"},
	{"parameter of an expression", op("{relay: {}}", "callback: {url: 'https://h.example/{$request.path.id}'}"),
		"7:21: operations.scan.callback.url[0]: the route has no parameter {id} | such as {$request.query.callbackURL}; one entry may be a URL, for calls that bring none"},

	{"route without a method", route("/scan"), `2:16: operations.a.route: the route "/scan" must be a method and a path, such as POST /scan | write a method and a path, such as POST /scan or GET /reports/{kind}`},
	{"route with a bad parameter", route("POST /{a}x"), `2:16: operations.a.route: the route "POST /{a}x": `},
	{"the gateway's route", route("GET /v1/jobs"), "2:16: operations.a.route: the route belongs to the gateway | choose another path, or set a prefix for the gateway's own routes"},
	{"the gateway's health", route("GET /healthz"), "2:16: operations.a.route: the route belongs to the gateway | "},
	{"the same route twice", route("POST /x/{a}") + "  b: {route: 'POST /x/{b}', backend: {relay: {}}}\n",
		`3:14: operations.b.route: "POST /x/{b}" and "POST /x/{a}", of a (ringback.yaml:2:16), match the same requests | give one of them another path or method`},
}

// op is a file with an operation on its lines from 4, with its backend on line 6
// and one more of its lines after it.
func op(backend, more string) string {
	return "#\n#\noperations:\n  scan:\n    route: POST /scan\n    backend: " + backend + "\n    " + more + "\n"
}

func route(route string) string {
	return "operations:\n  a: {  route: '" + route + "', backend: {relay: {}}}\n"
}

func TestEachProblemSaysWhereItIsAndWhatToDo(t *testing.T) {
	t.Parallel()
	for _, c := range wrongFiles {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := loadText(t, c.text, Sources{}, map[string]string{"SECRET": "hunter2"})
			problems, ok := errors.AsType[Problems](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			want := strings.Split(c.want, "\n")
			if len(problems) != len(want) {
				t.Fatalf("got %v", err)
			}
			for i, p := range problems {
				if got := p.Error() + " | " + p.Hint; !strings.HasPrefix(got, "ringback.yaml:"+want[i]) || strings.Contains(got, "hunter2") {
					t.Errorf("got  %s\nwant %s", got, want[i])
				}
			}
		})
	}
}

func TestProblemsInFlagsAndVariablesAreNamedAfterThem(t *testing.T) {
	t.Parallel()
	env := map[string]string{"RINGBACK_MAX_WAIT": "never", "RINGBACK_OUTBOUND_ALLOW": "10.0.0.0/8,%"}
	_, err := loadText(t, "", Sources{Flags: map[string]string{"public_url": "x"}}, env)
	got := err.Error()
	for _, want := range []string{"--public-url: public_url: must be", "RINGBACK_MAX_WAIT: max_wait: ", "RINGBACK_OUTBOUND_ALLOW: outbound.allow[1]: "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}

func TestAVariableThatMeansTwoKeysIsRefused(t *testing.T) {
	t.Parallel()
	text := "operations:\n  a: {route: POST /a, backend: {relay: {}}}\n  a_callback: {route: POST /b, backend: {relay: {}}}\n"
	_, err := loadText(t, text, Sources{}, map[string]string{"RINGBACK_OPERATIONS_A_CALLBACK_TIMEOUT": "1s"})
	if err == nil || !strings.Contains(err.Error(), "the variable stands for operations.a") {
		t.Errorf("got %v", err)
	}
}

func TestDevListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{":8080", "0.0.0.0:1", "[::]:1", "192.168.1.1:1", "example.com:1"} {
		_, err := loadText(t, "listen: '"+listen+"'", Sources{Dev: true}, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "ringback.yaml:1:9: listen: with --dev") {
			t.Errorf("%s: got %v", listen, err)
		}
	}
}

func FuzzLoadReportsAndNeverPanics(f *testing.F) {
	for _, c := range wrongFiles {
		f.Add(c.text)
	}
	f.Add("operations: {a: &a {route: POST /a, backend: *a}}")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := loadText(t, text, Sources{}, map[string]string{"SECRET": "hunter2"})
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the secret is in: %v", err)
		}
	})
}
