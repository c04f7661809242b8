package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// onePolicy is the least that a file has.
const onePolicy = `policies:
  - name: all
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
`

// writeFile writes a file that somebody may be watching: nobody ever sees a part of it.
func writeFile(t testing.TB, path, content string) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

func loadText(t testing.TB, content string) (*Loaded, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sealgate.yaml")
	writeFile(t, file, content)
	return load(file, Overrides{}, nil)
}

func TestThreat138_AFileThatCanBeReadInTwoWaysIsRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, yaml, want string }{
		{"empty", "", "sealgate.yaml: is empty"},
		{"only a comment", "# nothing\n", "sealgate.yaml: is empty"},
		{"a scalar", "hello\n", ":1: is text; it must be a map with the keys admin, authorities"},
		{"null", "---\n", "is empty; write a map"},
		{"not UTF-8", "listen: {address: \"\xff\"}\n", "is not text in UTF-8"},
		{"broken syntax", onePolicy + "listen:\n  address: [1\n", ":5: not valid YAML: "},
		{"a second document", onePolicy + "---\npolicies: []\n", ":5: a second document begins here"},
		{"a second document that is broken", onePolicy + "---\n\t{", ": not valid YAML: "},
		{"an unknown key", onePolicy + "listn: {address: x}\n", ":5: listn: unknown key; did you mean listen?"},
		{"an unknown key far from any", onePolicy + "frobnicate: 1\n", ":5: frobnicate: unknown key; known here: admin, authorities, clients, delete, listen"},
		{"an unknown key in a list", strings.Replace(onePolicy, "pull:", "pul:", 1), ":4: policies[0].pul: unknown key; did you mean pull?"},
		{"a key in capitals", onePolicy + "Listen: {address: x}\n", ":5: Listen: unknown key; did you mean listen?"},
		{"a dotted key", onePolicy + "listen.address: 127.0.0.1:1\n", ":5: listen.address: unknown key"},
		{"a key with an escape", onePolicy + "\"lis\\x1bten\": 1\n", `:5: "lis\x1bten": unknown key`},
		{"a key that is a list", onePolicy + "[a]: 1\n", ":5: has a key that is a list"},
		{"a duplicate key", onePolicy + "listen: {address: \":1\"}\nlisten: {address: \":2\"}\n", ":6: listen: is there twice, first in line 5"},
		{"a duplicate key in other case", onePolicy + "listen: {address: \":1\"}\nLISTEN: {address: \":2\"}\n", ":6: LISTEN: is there twice"},
		{"a duplicate in a policy", onePolicy + "    pull: {admit_unverified: true}\n", ":5: policies[0].pull: is there twice, first in line 4"},
		{"an anchor", onePolicy + "listen: &x {address: \":1\"}\n", ":5: listen: anchors (&x) are not read"},
		{"an alias", onePolicy + "listen: &x {address: \":1\"}\nadmin: *x\n", ":6: admin: aliases (*x) are not read"},
		{"a merge key", onePolicy + "listen: {<<: {address: \":1\"}}\n", ":5: listen: merge keys (<<) are not read"},
		{"a tag", onePolicy + "delete: {allowed: !!bool \"true\"}\n", ":5: delete.allowed: tags (!!bool) are not read"},
		{"a tag on a key", onePolicy + "!!str delete: {allowed: true}\n", ":5: delete: tags (!!str) are not read"},
		{"yes for true", onePolicy + "delete: {allowed: yes}\n", ":5: delete.allowed: is text; write true or false"},
		{"on for true", onePolicy + "delete: {allowed: on}\n", ":5: delete.allowed: is text; write true or false"},
		{"True for true", onePolicy + "delete: {allowed: True}\n", ":5: delete.allowed: is true or false; write true or false"},
		{"a quoted true", onePolicy + "delete: {allowed: \"true\"}\n", ":5: delete.allowed: is text; write true or false"},
		{"1 for true", onePolicy + "delete: {allowed: 1}\n", ":5: delete.allowed: is a number; write true or false"},
		{"a number for text", onePolicy + "storage: {directory: 1.10}\n", ":5: storage.directory: is a number; it must be text: put it in quotes"},
		{"no for text", onePolicy + "storage: {directory: no}\n", ":5: storage.directory: no is true or false to some readers"},
		{"a date for text", onePolicy + "storage: {directory: 2027-01-01}\n", ":5: storage.directory: is a date; it must be text"},
		{"null for text", onePolicy + "storage: {directory: ~}\n", ":5: storage.directory: is empty; write text, or leave the key out"},
		{"an empty section", onePolicy + "storage:\n", ":5: storage: is empty; write a map with the keys directory"},
		{"a section without its pull", strings.Replace(onePolicy, "pull: {signed_by: {any: [gateway]}}", "pull:", 1), ":4: policies[0].pull: is empty"},
		{"text for a list", strings.Replace(onePolicy, `["**"]`, `"a,b"`, 1), ":3: policies[0].repositories: is text; it must be a list"},
		{"a map for a list", "policies: {name: x}\n", ":1: policies: is a map; it must be a list"},
		{"a list for text", onePolicy + "storage: {directory: [a]}\n", ":5: storage.directory: is a list; it must be text"},
		{"a float for a number", onePolicy + "verification: {cache_entries: 1e3}\n", ":5: verification.cache_entries: is a number; it must be a whole number"},
		{"NaN for a number", onePolicy + "verification: {cache_entries: .nan}\n", ":5: verification.cache_entries: is a number; it must be a whole number"},
		{"infinity for a number", onePolicy + "verification: {cache_entries: .inf}\n", "must be a whole number"},
		{"an octal number", onePolicy + "verification: {cache_entries: 0100}\n", "must be a whole number in plain digits"},
		{"a hexadecimal number", onePolicy + "verification: {cache_entries: 0x10}\n", "must be a whole number in plain digits"},
		{"a number of a hundred digits", onePolicy + "verification: {cache_entries: " + strings.Repeat("9", 100) + "}\n", "must be a whole number"},
		{"a duration without a unit", onePolicy + "verification: {cache_ttl: 60}\n", ":5: verification.cache_ttl: is not a duration; write it like 30s"},
		{"a duration in days", onePolicy + "verification: {cache_ttl: 1d}\n", ":5: verification.cache_ttl: is not a duration"},
		{"formats that are a word", onePolicy + "signers: [{name: gateway, formats: bundle}]\n", ":5: signers[0].formats: is neither auto nor a list"},
		{"formats that are a number", onePolicy + "signers: [{name: gateway, formats: 1}]\n", ":5: signers[0].formats: is a number; it must be auto or a list"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := loadText(t, c.yaml)
			if err == nil {
				t.Fatalf("loaded, want an error with %q:\n%s", c.want, c.yaml)
			}
			if _, ok := errors.AsType[Problems](err); !ok {
				t.Errorf("got an error of type %T, want Problems", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got\n%v\nwant it to contain\n%s", err, c.want)
			}
		})
	}
}

func TestThreat138_AnAliasBombCostsNothing(t *testing.T) {
	t.Parallel()
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%[1]d [%s]\n", i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	start := time.Now()
	if _, err := loadText(t, onePolicy+bomb.String()); err == nil {
		t.Error("loaded an alias bomb")
	}
	if _, err := loadText(t, "policies: &p\n  - {name: &n x, repositories: [*n, *n, *n], pull: *p}\n"); err == nil {
		t.Error("loaded a document that contains itself")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestThreat138_WhatIsTooLargeOrTooDeepIsNotRead(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sealgate.yaml")
	writeFile(t, file, onePolicy)
	if err := os.Truncate(file, 100<<20); err != nil { // sparse: 100 MiB of zeros
		t.Fatal(err)
	}
	if _, err := load(file, Overrides{}, nil); err == nil || !strings.Contains(err.Error(), "it is larger than 1048576 bytes") {
		t.Errorf("100 MiB: got %v", err)
	}

	padding := maxConfigFile - len(onePolicy) - len("#\n")
	atLimit := onePolicy + "#" + strings.Repeat("x", padding) + "\n"
	if _, err := loadText(t, atLimit); err != nil {
		t.Errorf("a file of exactly %d bytes: %v", len(atLimit), err)
	}
	if _, err := loadText(t, atLimit+"\n"); err == nil {
		t.Errorf("a file of %d bytes was read", len(atLimit)+1)
	}
	for _, deep := range []string{
		"policies: " + strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000),
		"policies: " + strings.Repeat("[", 500_000),
		"policies: " + strings.Repeat("{a: ", 5_000) + "1" + strings.Repeat("}", 5_000),
	} {
		if _, err := loadText(t, deep); err == nil {
			t.Errorf("loaded %.30s... of %d bytes", deep, len(deep))
		}
	}
}

func TestThreat138_WhatIsNotARegularFileIsNotRead(t *testing.T) {
	t.Parallel()
	for _, path := range []string{t.TempDir(), "/dev/zero", filepath.Join(t.TempDir(), "absent.yaml")} {
		if _, err := load(path, Overrides{}, nil); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestEverythingThatIsWrongIsSaidAtOnceInTheOrderOfTheFile(t *testing.T) {
	t.Parallel()
	_, err := loadText(t, "listen: {address: 1}\nadmin: {adress: x}\nstorage: {directory: no}\n"+onePolicy)
	problems, ok := errors.AsType[Problems](err)
	if !ok || len(problems) != 3 {
		t.Fatalf("got %v, want 3 problems", err)
	}
	for i, p := range problems {
		if p.Line != i+1 {
			t.Errorf("problem %d is in line %d: %v", i, p.Line, p)
		}
	}
}

func TestSecretsInTheWrongPlaceAreNotRepeated(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, yaml := range []string{
		"registries: [{name: r, url: \"https://user:" + secret + "@registry.acme.dev\"}]\n",
		"registries: [{name: r, url: \"https://user:" + secret + "@registry.acme.dev:port\"}]\n",
		"registries: [{name: r, url: \"https://registry.acme.dev\", credentials: " + secret + "}]\n",
		"registries: [{name: r, url: \"https://registry.acme.dev\", credentials: {username: u, password: " + secret + "}}]\n",
		"signers: [{name: gateway, key: {password_env: \"" + secret + " with a blank\"}}]\n",
		"signers: [{name: gateway, key: {password: " + secret + "}}]\n",
		"listen: {external_url: \"https://user:" + secret + "@gateway.acme.dev\"}\n",
	} {
		if _, err := loadText(t, yaml+onePolicy); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v", yaml, err)
		}
	}
}

func TestContentThatContradictsItselfIsRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, yaml, want string }{
		{"no policies", "listen: {address: \":1\"}\n", "policies: is missing, so everything would be denied"},
		{"a policy with a name of many lines", strings.Replace(onePolicy, "name: all", `name: "a\nb"`, 1), ":2: policies[0].name: must be 1 to 64 letters"},
		{"signatures of a key that age", strings.Replace(onePolicy, "{any: [gateway]}", "{any: [gateway], max_age: 24h}", 1), ":4: policies[0].pull.signed_by.max_age: gateway signs with a key alone, and what it signs has no time"},
		{"signatures of a key that age and say so", strings.Replace(onePolicy, "{any: [gateway]}", "{any: [gateway], max_age: 24h, trust_statement_time: true}", 1), "max_age: gateway signs with a key alone"},
		{"signatures of somebody's key that age", strings.Replace(onePolicy, "{any: [gateway]}", "{any: [a], max_age: 24h}", 1) + "authorities: [{name: a, key: {file: a.pub}}]\n", ":4: policies[0].pull.signed_by.max_age: nobody vouches for when a signed; give its key valid_from"},
		{"signatures of a certificate that age", strings.Replace(onePolicy, "{any: [gateway]}", "{of: [a], at_least: 1, max_age: 24h}", 1) + "authorities: [{name: a, certificate: {roots: a.pem, subject: a}}]\n", ":4: policies[0].pull.signed_by.max_age: nobody vouches for when a signed; give its certificate a trusted_root"},
		{"an address without a port", onePolicy + "listen: {address: localhost}\n", ":5: listen.address: is not host:port"},
		{"a port that is a word", onePolicy + "listen: {address: \"localhost:http\"}\n", ":5: listen.address: has a port that is no number"},
		{"one address for both", onePolicy + "listen: {address: \":1\"}\nadmin: {address: \":1\"}\n", ":6: admin.address: is listen.address too"},
		{"an external URL without a scheme", onePolicy + "listen: {external_url: registry.acme.dev}\n", ":5: listen.external_url: is not a URL"},
		{"an external URL with a path", onePolicy + "listen: {external_url: \"https://acme.dev/registry\"}\n", ":5: listen.external_url: has more than scheme, host and port"},
		{"a certificate without a key", onePolicy + "listen: {tls: {certificate: x}}\n", ":5: listen.tls: has one file"},
		{"certificates from two places", onePolicy + "listen: {tls: {certificate: a.crt, key: a.key}, acme: {domains: [a.dev], accept_terms: true}}\n", ":5: listen.acme: contradicts the certificate in listen.tls"},
		{"an authority without domains", onePolicy + "listen: {acme: {accept_terms: true}}\n", ":5: listen.acme.domains: names no domain"},
		{"an authority for an address", onePolicy + "listen: {acme: {domains: [10.0.0.1], accept_terms: true}}\n", ":5: listen.acme.domains[0]: \"10.0.0.1\" is no domain"},
		{"an authority for a pattern", onePolicy + "listen: {acme: {domains: [\"*.a.dev\"], accept_terms: true}}\n", ":5: listen.acme.domains[0]: \"*.a.dev\" is no domain"},
		{"an authority for one domain twice", onePolicy + "listen: {acme: {domains: [a.dev, a.dev], accept_terms: true}}\n", ":5: listen.acme.domains[1]: names \"a.dev\" twice"},
		{"terms that nobody accepted", onePolicy + "listen: {acme: {domains: [a.dev]}}\n", ":5: listen.acme.accept_terms: is not true"},
		{"an authority in plain text", onePolicy + "listen: {acme: {domains: [a.dev], accept_terms: true, directory: \"http://a\"}}\n", ":5: listen.acme.directory: is not an https URL"},
		{"an authority's letters to nobody", onePolicy + "listen: {acme: {domains: [a.dev], accept_terms: true, email: ops}}\n", ":5: listen.acme.email: is no address"},
		{"no registries", onePolicy + "registries: []\n", ":5: registries: is an empty list"},
		{"a registry that is nowhere", onePolicy + "registries: [{name: a}]\n", ":5: registries[0]: has neither url nor embedded"},
		{"a registry that is in two places", onePolicy + "registries: [{name: a, embedded: true, url: \"https://a\"}]\n", ":5: registries[0].url: contradicts embedded"},
		{"two embedded registries", onePolicy + "registries:\n  - {name: a, embedded: true}\n  - {name: b, prefix: b/, embedded: true}\n", ":7: registries[1].embedded: registries[0] is embedded already"},
		{"two registries of one name", onePolicy + "registries:\n  - {name: a, embedded: true}\n  - {name: a, prefix: b/, url: \"https://b\"}\n", ":7: registries[1].name: a is the name in line 6 too"},
		{"two registries of one prefix", onePolicy + "registries:\n  - {name: a, embedded: true}\n  - {name: b, url: \"https://b\"}\n", ":7: registries[1]"},
		{"a prefix without a slash", onePolicy + "registries: [{name: a, prefix: a, embedded: true}]\n", ":5: registries[0].prefix: is not empty and not path components"},
		{"a prefix that climbs", onePolicy + "registries: [{name: a, prefix: ../, embedded: true}]\n", ":5: registries[0].prefix: is not"},
		{"a file URL", onePolicy + "registries: [{name: a, url: \"file:///etc\"}]\n", ":5: registries[0].url: is not a URL"},
		{"a user without a password", onePolicy + "registries: [{name: a, url: \"https://a\", credentials: {username: u}}]\n", ":5: registries[0].credentials: needs both"},
		{"credentials in plain text", onePolicy + "registries: [{name: a, url: \"http://a\", credentials: docker-config}]\n", ":5: registries[0].credentials: would travel in plain text"},
		{"credentials that are half a map", onePolicy + "registries: [{name: a, url: \"https://a\", credentials: {}}]\n", ""},
		{"callers' credentials where clients log in", onePolicy + "clients: {htpasswd: users}\nregistries: [{name: a, url: \"https://a\", credentials: caller}]\n", ":6: registries[0].credentials: caller forwards the credentials that clients show"},
		{"a cloud's credentials for another's registry", onePolicy + "registries: [{name: a, url: \"https://acmeprod.azurecr.io\", credentials: ecr}]\n", ":5: registries[0].credentials: ecr is for registries like"},
		{"a cloud's credentials for a lookalike", onePolicy + "registries: [{name: a, url: \"https://evil.azurecr.io.attacker.test\", credentials: acr}]\n", ":5: registries[0].credentials: acr is for registries like"},
		{"a cloud's credentials for anybody", onePolicy + "registries: [{name: a, url: \"https://a\", credentials: gar}]\n", ":5: registries[0].credentials: gar is for registries like"},
		{"a helper without docker-config", onePolicy + "registries: [{name: a, url: \"https://a\", credential_helper: /usr/bin/docker-credential-x}]\n", ":5: registries[0].credential_helper: is for credentials: docker-config alone"},
		{"a helper that is looked for", onePolicy + "registries: [{name: a, url: \"https://a\", credentials: docker-config, credential_helper: docker-credential-x}]\n", ":5: registries[0].credential_helper: is not an absolute path"},
		{"a helper that is a shell", onePolicy + "registries: [{name: a, url: \"https://a\", credentials: docker-config, credential_helper: /bin/sh}]\n", ":5: registries[0].credential_helper: is not an absolute path"},
		{"an authority of a registry without TLS", onePolicy + "registries: [{name: a, url: \"http://127.0.0.1:1\", ca_file: a.pem}]\n", ":5: registries[0].ca_file: means nothing without TLS"},
		{"an authority of the embedded registry", onePolicy + "registries: [{name: a, embedded: true, ca_file: a.pem}]\n", ":5: registries[0].ca_file: means nothing without TLS"},
		{"a client certificate without its key", onePolicy + "registries: [{name: a, url: \"https://a\", client_certificate: a.pem}]\n", ":5: registries[0]: has one of client_certificate and client_key"},
		{"a token host with a path", onePolicy + "registries: [{name: a, url: \"https://a\", token_hosts: [\"a/b\"]}]\n", ":5: registries[0].token_hosts[0]: is not a host"},
		{"no authorities", onePolicy + "authorities: []\n", ":5: authorities: is an empty list"},
		{"an authority of nothing", onePolicy + "authorities: [{name: a}]\n", ":5: authorities[0]: has neither signer nor key, keyless, github or certificate"},
		{"an authority of two things", onePolicy + "authorities: [{name: a, signer: gateway, key: {file: a.pub}}]\n", ":5: authorities[0]: has more than one of signer, key, keyless, github and certificate"},
		{"an unknown signer", onePolicy + "authorities: [{name: a, signer: b}]\n", ":5: authorities[0].signer: unknown signer \"b\"; signers has gateway"},
		{"an empty identity", onePolicy + "authorities: [{name: a, keyless: {}}]\n", ":5: authorities[0].keyless: has no issuer"},
		{"an identity without an issuer", onePolicy + "authorities: [{name: a, keyless: {subject: s}}]\n", ":5: authorities[0].keyless: has no issuer"},
		{"an identity without a subject", onePolicy + "authorities: [{name: a, keyless: {issuer: i}}]\n", ":5: authorities[0].keyless: has neither subject nor subject_regexp"},
		{"an identity of two subjects", onePolicy + "authorities:\n  - name: a\n    keyless:\n      issuer: i\n      subject: s\n      subject_regexp: s\n", ":10: authorities[0].keyless.subject_regexp: contradicts subject"},
		{"a pattern that is none", onePolicy + "authorities:\n  - name: a\n    keyless:\n      issuer: i\n      subject_regexp: a(\n", ":9: authorities[0].keyless.subject_regexp: error parsing regexp: missing closing )"},
		{"a pattern that breaks out", onePolicy + "authorities: [{name: a, keyless: {issuer: i, subject_regexp: 'a)|(?:b'}}]\n", "unexpected )"},
		{"a pattern for nothing", onePolicy + "authorities: [{name: a, keyless: {issuer: i, subject_regexp: .*}}]\n", "matches an empty subject"},
		{"a word that is not unsafe", onePolicy + "authorities: [{name: a, keyless: {issuer: i, subject: s, without_sct: true}}]\n", "unknown key; known here: issuer, runner, source_owner"},
		{"certificates without roots", onePolicy + "authorities: [{name: a, certificate: {subject: s}}]\n", ":5: authorities[0].certificate: has no roots"},
		{"certificates of anybody", onePolicy + "authorities: [{name: a, certificate: {roots: r.pem}}]\n", ":5: authorities[0].certificate: has neither subject nor subject_regexp"},
		{"an identity and a certificate", onePolicy + "authorities: [{name: a, keyless: {issuer: i, subject: s}, certificate: {roots: r, subject: s}}]\n", "has more than one of"},
		{"a validity without a key", onePolicy + "authorities: [{name: a, key: {revoked: true}}]\n", ":5: authorities[0].key: has neither file nor kms"},
		{"a key that ends before it begins", onePolicy + "authorities:\n  - name: a\n    key:\n      file: a\n      valid_from: 2027-01-01\n      valid_until: 2026-01-01\n", ":10: authorities[0].key.valid_until: is not after valid_from"},
		{"a root for nothing", onePolicy + "authorities: [{name: a, key: {file: a, trusted_root: public-good}}]\n", ":5: authorities[0].key.trusted_root: means nothing without"},
		{"a date that is none", onePolicy + "authorities: [{name: a, key: {file: a, valid_until: 2027-02-30}}]\n", ":5: authorities[0].key.valid_until: is neither a date like 2027-01-01 nor a time"},
		{"a date of another order", onePolicy + "authorities: [{name: a, key: {file: a, valid_until: 01.02.2027}}]\n", ":5: authorities[0].key.valid_until: is neither a date"},
		{"a date without a zone", onePolicy + "authorities: [{name: a, key: {file: a, valid_until: 2027-01-01T00:00:00}}]\n", ":5: authorities[0].key.valid_until: is neither a date"},
		{"a number for a date", onePolicy + "authorities: [{name: a, key: {file: a, valid_until: 2027}}]\n", ":5: authorities[0].key.valid_until: is neither a date"},
		{"an empty date", onePolicy + "authorities: [{name: a, key: {file: a, valid_until: \"\"}}]\n", ":5: authorities[0].key.valid_until: is neither a date"},
		{"no signers", onePolicy + "signers: []\n", ":5: signers: is an empty list"},
		{"two places for a password", onePolicy + "signers: [{name: gateway, key: {password_env: A, password_file: b}}]\n", ":5: signers[0].key.password_env: contradicts password_file"},
		{"a scanner that does not say how", onePolicy + "scanners: [{name: a}]\n", ":5: scanners[0]: has neither embedded nor exec nor harbor"},
		{"a scanner that says it twice", onePolicy + "scanners: [{name: a, embedded: {database: d}, harbor: {url: 'http://127.0.0.1:1', door: {address: '127.0.0.1:2'}}}]\n", ":5: scanners[0]: has more than one of embedded, exec and harbor"},
		{"two scanners of a name", onePolicy + "scanners: [{name: a, embedded: {database: d}}, {name: a, embedded: {database: e}}]\n", ":5: scanners[1].name: a is the name in line 5 too"},
		{"a scanner that may take for ever", onePolicy + "scanners: [{name: a, embedded: {database: d}, timeout: 24h}]\n", ":5: scanners[0].timeout: must be between 10s and 1h"},
		{"a program without arguments", onePolicy + "scanners: [{name: a, exec: {command: [grype], report: grype}}]\n", ":5: scanners[0].exec.command: has no argument with {layout}"},
		{"no program", onePolicy + "scanners: [{name: a, exec: {report: grype}}]\n", ":5: scanners[0].exec: has no command"},
		{"an unknown report", onePolicy + "scanners: [{name: a, exec: {command: [x, '{layout}'], report: json}}]\n", ":5: scanners[0].exec.report: is none of grype, sarif, trivy"},
		{"a variable without a value", onePolicy + "scanners: [{name: a, exec: {command: [x, '{layout}'], report: sarif, environment: [HOME]}}]\n", ":5: scanners[0].exec.environment[0]: is not NAME=VALUE"},
		{"a program's digest that is none", onePolicy + "scanners: [{name: a, exec: {command: [x, '{layout}'], report: sarif, digest: latest}}]\n", ":5: scanners[0].exec.digest: is not sha256: and 64 digits"},
		{"an adapter's token in plain text", onePolicy + "scanners: [{name: a, harbor: {url: 'http://scanner.acme.dev', token_file: t, door: {address: '127.0.0.1:2'}}}]\n", ":5: scanners[0].harbor.token_file: would travel in plain text"},
		{"an adapter that is nowhere", onePolicy + "scanners: [{name: a, harbor: {door: {address: '127.0.0.1:2'}}}]\n", ":5: scanners[0].harbor.url: is not a URL"},
		{"a door that nobody finds", onePolicy + "scanners: [{name: a, harbor: {url: 'https://scanner.acme.dev', door: {address: ':5002'}}}]\n", ":5: scanners[0].harbor.door.url: is missing"},
		{"a door without an address", onePolicy + "scanners: [{name: a, harbor: {url: 'https://scanner.acme.dev'}}]\n", ":5: scanners[0].harbor.door.address: is not host:port"},
		{"an unknown format", onePolicy + "signers: [{name: gateway, formats: [tarball]}]\n", ":5: signers[0].formats: format \"tarball\""},
		{"no format", onePolicy + "signers: [{name: gateway, formats: []}]\n", ":5: signers[0].formats: is an empty list"},
		{"a key in two places", onePolicy + "signers: [{name: gateway, kms: \"hashivault://a\", key: {file: b}}]\n", ":5: signers[0]: has more than one of key, kms, pkcs11 and keyless"},
		{"a key and none", onePolicy + "signers: [{name: gateway, kms: \"hashivault://a\", " + keylessWith("", "") + "}]\n", ":5: signers[0]: has more than one of key, kms, pkcs11 and keyless"},
		{"an identity that signs", onePolicy + "signers: [{name: gateway, " + keylessWith("", "") + "}]\n", ""},
		{"an identity that signs in bundles", onePolicy + "signers: [{name: gateway, formats: [bundle], " + keylessWith("", "") + "}]\n", ""},
		{"an identity that signs in tags", onePolicy + "signers: [{name: gateway, formats: [tag, bundle], " + keylessWith("", "") + "}]\n", ":5: signers[0].formats: without a log of version 1 a keyless signature is a bundle"},
		{"an identity in an old log that signs in tags", onePolicy + "signers: [{name: gateway, formats: [tag, bundle], " + keylessWith("rekor:", "rekor_version: 1, rekor:") + "}]\n", ""},
		{"an old log that says the time", onePolicy + "signers: [{name: gateway, " + keylessWith("timestamp: ['https://tsa.acme.dev/api/v1/timestamp'],", "rekor_version: 1,") + "}]\n", ""},
		{"a log of no known version", onePolicy + "signers: [{name: gateway, " + keylessWith("rekor:", "rekor_version: 3, rekor:") + "}]\n", ":5: signers[0].keyless.rekor_version: is not 1 or 2"},
		{"a version of no log", onePolicy + "signers: [{name: gateway, " + keylessWith("rekor: 'https://rekor.acme.dev'", "without_transparency_log_unsafe: true, rekor_version: 1") + "}]\n", ":5: signers[0].keyless.rekor_version: is the version of no log"},
		{"a Fulcio that is nowhere", onePolicy + "signers: [{name: gateway, " + keylessWith("fulcio: 'https://fulcio.acme.dev', ", "") + "}]\n", ":5: signers[0].keyless.fulcio: is not a URL"},
		{"an identity token in plain text", onePolicy + "signers: [{name: gateway, " + keylessWith("https://fulcio.acme.dev", "http://fulcio.acme.dev") + "}]\n", ":5: signers[0].keyless.fulcio: the identity token would travel in plain text"},
		{"no identity token", onePolicy + "signers: [{name: gateway, " + keylessWith("identity_token_file: t, ", "") + "}]\n", ":5: signers[0].keyless: has no identity_token_file"},
		{"an identity without an issuer", onePolicy + "signers: [{name: gateway, " + keylessWith("issuer: 'https://acme.dev', ", "") + "}]\n", ":5: signers[0].keyless: has no identity.issuer"},
		{"an identity without a subject", onePolicy + "signers: [{name: gateway, " + keylessWith(", subject: a@acme.dev", "") + "}]\n", ":5: signers[0].keyless: has no identity.subject"},
		{"signatures of no time", onePolicy + "signers: [{name: gateway, " + keylessWith("timestamp: ['https://tsa.acme.dev/api/v1/timestamp'], ", "") + "}]\n", ":5: signers[0].keyless.timestamp: are not one to four"},
		{"a time from nowhere", onePolicy + "signers: [{name: gateway, " + keylessWith("https://tsa.acme.dev/api/v1/timestamp", "tsa") + "}]\n", ":5: signers[0].keyless.timestamp[0]: is not a URL"},
		{"an identity in no log", onePolicy + "signers: [{name: gateway, " + keylessWith(", rekor: 'https://rekor.acme.dev'", "") + "}]\n", ":5: signers[0].keyless: has no rekor"},
		{"an identity in no log on purpose", onePolicy + "signers: [{name: gateway, " + keylessWith("rekor: 'https://rekor.acme.dev'", "without_transparency_log_unsafe: true") + "}]\n", ""},
		{"a log, and none", onePolicy + "signers: [{name: gateway, " + keylessWith(", rekor:", ", without_transparency_log_unsafe: true, rekor:") + "}]\n", ":5: signers[0].keyless.without_transparency_log_unsafe: contradicts rekor"},
		{"a service that would run a program", onePolicy + "signers: [{name: gateway, kms: \"evil://a\"}]\n", ":5: signers[0].kms: a reference that begins with none of"},
		{"a copy of nothing", onePolicy + "signers: [{name: gateway, public: a.pub}]\n", ":5: signers[0].public: means nothing without kms"},
		{"a token without a module", onePolicy + "signers: [{name: gateway, pkcs11: {token: a, label: b, pin_file: c}}]\n", ":5: signers[0].pkcs11: has no module"},
		{"a token without a label", onePolicy + "signers: [{name: gateway, pkcs11: {module: m, label: b, pin_file: c}}]\n", ":5: signers[0].pkcs11: has no token"},
		{"a key pair without a label", onePolicy + "signers: [{name: gateway, pkcs11: {module: m, token: a, pin_file: c}}]\n", ":5: signers[0].pkcs11: has no label"},
		{"a token without a PIN", onePolicy + "signers: [{name: gateway, pkcs11: {module: m, token: a, label: b}}]\n", ":5: signers[0].pkcs11: has neither pin_env nor pin_file"},
		{"two places for a PIN", onePolicy + "signers: [{name: gateway, pkcs11: {module: m, token: a, label: b, pin_file: c, pin_env: D}}]\n", ":5: signers[0].pkcs11.pin_env: contradicts pin_file"},
		{"a PIN itself", onePolicy + "signers: [{name: gateway, pkcs11: {module: m, token: a, label: b, pin_env: \"1234\"}}]\n", ":5: signers[0].pkcs11.pin_env: is not the name of a variable; write the name, never the PIN itself"},
		{"an outage for ever", onePolicy + "verification: {outage_ttl: 169h}\n", ":5: verification.outage_ttl: must be between 0s, which decides nothing in an outage, and 168h"},
		{"a negative outage", onePolicy + "verification: {outage_ttl: -1s}\n", ":5: verification.outage_ttl: must be between 0s"},
		{"a cache for ever", onePolicy + "verification: {cache_ttl: 24h}\n", ":5: verification.cache_ttl: must be between 1s and 1h"},
		{"a cache of nothing", onePolicy + "verification: {cache_entries: 0}\n", ":5: verification.cache_entries: must be between"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := loadText(t, c.yaml)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got\n%v\nwant it to contain\n%s", err, c.want)
			}
		})
	}
}

func TestListsReplaceTheirDefaultAsAWhole(t *testing.T) {
	t.Parallel()
	loaded, err := loadText(t, "policies: [{name: a, repositories: [\"a/*\"], pull: {admit_unverified: true}}]\nsigners: [{name: s}]\nauthorities: [{name: s, signer: s}]\n")
	if err != nil {
		t.Fatal(err)
	}
	c := loaded.Config
	if len(c.Policies) != 1 || c.Policies[0].Push != nil || c.Policies[0].Pull.SignedBy != nil || c.Policies[0].Mode != "" {
		t.Errorf("the default policy shines through: %+v", c.Policies[0])
	}
	if len(c.Registries) != 1 || !c.Registries[0].Embedded || c.Signers[0].Formats[0] != "auto" || c.Listen.Address != "127.0.0.1:5000" {
		t.Errorf("what was left out has not its default: %+v", c)
	}
}

func TestPathsInAFileAreRelativeToIt(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	file := filepath.Join(directory, "sealgate.yaml")
	writeFile(t, file, onePolicy+"storage: {directory: data}\nauthorities:\n  - {name: gateway, key: {file: ../a.pub}}\n  - {name: b, key: {file: /abs/b.pub}}\n")
	loaded, err := load(file, Overrides{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{loaded.Config.Storage.Directory, loaded.Config.Authorities[0].Key.File, loaded.Config.Authorities[1].Key.File}
	want := []string{filepath.Join(directory, "data"), filepath.Join(filepath.Dir(directory), "a.pub"), "/abs/b.pub"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if key, generated := loaded.Config.keyPath(loaded.Config.Signers[0]); key != filepath.Join(directory, "data", "gateway.key") || !generated {
		t.Errorf("the gateway's key is %s, generated %v", key, generated)
	}
}

// What checkYAML accepts, viper must decode: the two readings of one file never differ in what they refuse.
func FuzzBothReadersAgree(f *testing.F) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte(onePolicy))
	f.Add([]byte("signers: [{name: a, formats: [tag]}, {name: b, formats: auto}]\nverification: {cache_ttl: 5m}"))
	f.Add([]byte("registries: [{credentials: {username: a}}, {credentials: none}]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 4096 {
			return
		}
		if _, problems := checkYAML("f", raw, reflect.TypeFor[Config]()); len(problems) > 0 {
			return
		}
		var c Config
		if err := decodeStrictly(raw, &c); err != nil {
			t.Errorf("checkYAML accepts what viper refuses: %v\n%s", err, raw)
		}
	})
}

// keylessWith is a signer's keyless settings with something in them replaced.
func keylessWith(old, now string) string {
	return strings.Replace("keyless: {fulcio: 'https://fulcio.acme.dev', identity_token_file: t, identity: {issuer: 'https://acme.dev', subject: a@acme.dev}, "+
		"timestamp: ['https://tsa.acme.dev/api/v1/timestamp'], trusted_root: public-good, rekor: 'https://rekor.acme.dev'}", old, now, 1)
}

func TestSignaturesMayAgeWhereSomethingSaysWhenTheyWereMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ authority, by string }{
		"a key with a validity":      {"key: {file: a.pub, valid_from: 2026-01-01}", "max_age: 24h"},
		"a key whose word counts":    {"key: {file: a.pub}", "max_age: 24h, trust_statement_time: true"},
		"a key without an age":       {"key: {file: a.pub}", "max_age: 0s"},
		"a certificate with a clock": {"certificate: {roots: a.pem, subject: a, trusted_root: public-good}", "max_age: 24h"},
		"an identity":                {"keyless: {issuer: https://a.dev, subject: a}", "max_age: 24h"},
	} {
		text := strings.Replace(onePolicy, "{any: [gateway]}", "{any: [a], "+c.by+"}", 1) + "authorities: [{name: a, " + c.authority + "}, {name: b, key: {file: b.pub}}]\n"
		if _, err := loadText(t, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
