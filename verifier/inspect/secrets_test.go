package inspect

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sealgate/sealgate/policy"
)

// letters are so many different ones, so that no secret stands in this file.
func letters(n int, alphabet string) string {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

const alnum = digits + upper + lower

// secretTexts has a text with a secret for each rule, and some without.
func secretTexts() map[string]struct{ name, text, want string } {
	key := letters(64, base64Text) + "\n" + letters(64, base64Text)
	jwt := "eyJhbGciOi" + letters(20, alnum) + "." + letters(60, alnum) + "." + letters(43, alnum)
	id, secret := "AKIA"+letters(16, accessKeyID), letters(40, base64Text)
	login := base64.StdEncoding.EncodeToString([]byte("user:hunter22"))
	return map[string]struct{ name, text, want string }{
		"an AWS key":               {"a", "id = " + id + "\nsecret = " + secret + "\n", "aws-access-key:1"},
		"an AWS key, secret first": {"a", secret + " " + id, "aws-access-key:1"},
		"an AWS id alone":          {"a", "id = " + id + "\n", ""},
		"an AWS id in a word":      {"a", "x" + id + " " + secret, ""},
		"an AWS id that goes on":   {"a", id + "A " + secret, ""},
		"the manual's AWS key":     {"a", "AKIAIOSFODNN7EXAMPLE " + secret, ""},
		"an AWS secret":            {"a", "\n\naws_secret_access_key = " + secret, "aws-secret-key:3"},
		"an AWS secret in JSON":    {"a", `{"SecretAccessKey": "` + secret + `"}`, "aws-secret-key:1"},
		"an AWS secret's name":     {"a", "aws_secret_access_key=${SECRET}", ""},
		"the manual's AWS secret":  {"a", "aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""},

		"a GitHub token":               {"a", "token: ghp_" + letters(36, alnum), "github-token:1"},
		"a GitHub token in a URL":      {"a", "https://x:ghs_" + letters(36, alnum) + "@github.com", "github-token:1"},
		"a fine-grained GitHub token":  {"a", "github_pat_" + letters(22, alnum) + "_" + letters(59, alnum), "github-token:1"},
		"a GitHub token that is short": {"a", "ghp_" + letters(35, alnum), ""},
		"a GitHub token of one letter": {"a", "ghp_" + strings.Repeat("x", 36), ""},
		"a GitHub token within a word": {"a", "aghp_" + letters(36, alnum), ""},
		"a GitLab token":               {"a", "glpat-" + letters(20, alnum), "gitlab-token:1"},
		"a Slack token":                {"a", "xoxb-123456789012-" + letters(24, alnum), "slack-token:1"},
		"a Slack webhook":              {"a", "https://hooks.slack.com/services/T" + letters(9, upper) + "/B" + letters(9, upper) + "/" + letters(24, alnum), "slack-webhook:1"},
		"an npm token":                 {"a", "npm_" + letters(36, alnum), "npm-token:1"},
		"an npm token in .npmrc":       {".npmrc", "//acme.dev/:_authToken=" + letters(36, alnum+"-"), "npm-token:1"},
		"an npm variable in .npmrc":    {".npmrc", "//acme.dev/:_authToken=${NPM_TOKEN}", ""},
		"a PyPI token":                 {"a", "pypi-AgEIcHlwaS5vcmc" + letters(80, alnum), "pypi-token:1"},
		"a Google key":                 {"a", "AIza" + letters(35, token), "google-api-key:1"},
		"a Stripe key":                 {"a", "sk_live_" + letters(24, alnum), "stripe-key:1"},
		"an Azure key":                 {"a", "AccountName=a;AccountKey=" + letters(86, base64Text) + "==;", "azure-storage-key:1"},
		"a DigitalOcean token":         {"a", "dop_v1_" + letters(64, "0123456789abcdef"), "digitalocean-token:1"},
		"a Vault token":                {"a", "hvs." + letters(95, alnum), "vault-token:1"},
		"a model's key":                {"a", "sk-ant-api03-" + letters(95, alnum), "model-api-key:1"},
		"an age key":                   {"a", "AGE-SECRET-KEY-1" + letters(58, digits+upper), "age-key:1"},
		"a token":                      {"a", "Authorization: Bearer " + jwt, "jwt:1"},
		"a token nobody calls so":      {"a", "x = " + jwt, ""},
		"a token of two parts":         {"a", "token " + jwt[:strings.LastIndexByte(jwt, '.')] + " ", ""},

		"a private key":             {"id_rsa", "-----BEGIN RSA PRIVATE KEY-----\n" + key, "private-key:1"},
		"an OpenSSH key":            {"id", "-----BEGIN OPENSSH PRIVATE KEY-----\r\n" + key, "private-key:1"},
		"an encrypted key":          {"a", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,0\n\n" + key, "private-key:1"},
		"a key in JSON":             {"a", `{"private_key": "-----BEGIN PRIVATE KEY-----\n` + letters(64, base64Text) + `\n"}`, "private-key:1"},
		"a PGP key":                 {"a", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + key, "private-key:1"},
		"a public key":              {"a", "-----BEGIN PUBLIC KEY-----\n" + key, ""},
		"a certificate":             {"a", "-----BEGIN CERTIFICATE-----\n" + key, ""},
		"a program that reads keys": {"a", "-----BEGIN RSA PRIVATE KEY-----\x00-----END RSA PRIVATE KEY-----\x00", ""},
		"a manual that shows keys":  {"a", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----", ""},

		"docker's login":            {"root/.docker/config.json", `{"auths":{"acme.dev":{"auth":"` + login + `"}}}`, "docker-auth:1"},
		"docker's login elsewhere":  {"app/settings.json", `{"auth":"` + login + `"}`, ""},
		"docker without a login":    {"root/.docker/config.json", `{"auths":{"acme.dev":{"auth":""}}}`, ""},
		"a netrc":                   {"root/.netrc", "machine acme.dev\nlogin a\npassword hunter2\n", "netrc-password:3"},
		"passwords in another file": {"README", "password hunter2", ""},
		"git's logins":              {"root/.git-credentials", "https://me:hunter2@acme.dev\n", "git-password:1"},
		"nothing":                   {"a", "", ""},
		"an anchor at the end":      {"a", "ghp_", ""},
		"an anchor alone":           {"a", "AKIA", ""},
	}
}

func found(t *testing.T, name string, file io.Reader) string {
	t.Helper()
	var all []string
	err := newScanner().scan(name, file, func(rule string, line int) { all = append(all, fmt.Sprint(rule, ":", line)) })
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestSecretsAreFoundAndOthersAreNot(t *testing.T) {
	tested := map[string]bool{}
	for what, c := range secretTexts() {
		if got := found(t, c.name, strings.NewReader(c.text)); got != c.want {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
		if got := found(t, c.name, iotest.OneByteReader(strings.NewReader(c.text))); got != c.want {
			t.Errorf("%s, byte by byte: got %q, want %q", what, got, c.want)
		}
		id, _, _ := strings.Cut(c.want, ":")
		tested[id] = true
	}
	for _, r := range secretRules() {
		if !tested[r.id] {
			t.Errorf("no case shows what %s finds", r.id)
		}
	}
}

// Wherever the window ends, a secret is found, once, and in its line.
func TestSecretsAreFoundAcrossWindows(t *testing.T) {
	secret := "ghp_" + letters(36, alnum)
	pem := "-----BEGIN PRIVATE KEY-----\n" + letters(64, base64Text) + "\n"
	for _, text := range []string{secret, pem} {
		for offset := range 200 {
			for _, end := range []int{window, window - reach, 2*window - 3*reach} {
				before := bytes.Repeat([]byte("\n"), end-100+offset)
				file := slices.Concat(before, []byte(text), []byte("\n"), make([]byte, 3*reach))
				want := fmt.Sprint("github-token:", len(before)+1)
				if text == pem {
					want = fmt.Sprint("private-key:", len(before)+1)
				}
				if got := found(t, "a", bytes.NewReader(file)); got != want {
					t.Fatalf("at %d: got %q, want %q", len(before), got, want)
				}
			}
		}
	}
}

func TestSecretsAreNamedAndNeverTold(t *testing.T) {
	secret := letters(36, alnum)
	layers := []blob{plainly(t, file("app/.env", "A=b\nTOKEN=ghp_"+secret+"\n")), plainly(t, file("app/.wh..env", ""))}
	want := []string{"app/.env: github-token in line 2, layer 1, deleted later and still there"}
	if got := findingsOf(t, policy.CheckSecrets, layers...); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s := store{}
	m := build(t, s, `{"User":"1","Env":["X=ghp_`+secret+`"],"Labels":{"x":"ghp_`+secret+`"}}`, layers...)
	if all := fmt.Sprintf("%+v", inspectAll(t, s, m)); strings.Contains(strings.ReplaceAll(all, "x:ghp_"+secret, ""), secret[:8]) {
		t.Errorf("the secret is in %s", all)
	}
}

// What is found does not depend on how a text is cut, and the search finds what a plain one finds.
func FuzzSecrets(f *testing.F) {
	for _, c := range secretTexts() {
		f.Add([]byte(c.text), uint16(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, cut uint16) {
		p := allRules()
		var got, want []string
		p.find(text, 0, len(text), func(r *rule, at, end int) { got = append(got, fmt.Sprint(at, r.id, end)) })
		for at := range text {
			for _, r := range secretRules() {
				for _, a := range r.anchors {
					if bytes.HasPrefix(text[at:], []byte(a)) {
						want = append(want, fmt.Sprint(at, r.id, at+len(a)))
					}
				}
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		for _, name := range []string{"a", ".netrc", "config.json", ".git-credentials"} {
			whole := found(t, name, bytes.NewReader(text))
			at := min(int(cut), len(text))
			if parts := found(t, name, io.MultiReader(bytes.NewReader(text[:at]), bytes.NewReader(text[at:]))); parts != whole {
				t.Errorf("%q: got %q in two parts, %q in one", text, parts, whole)
			}
		}
	})
}

// BenchmarkSecrets reads programs and texts of this machine.
func BenchmarkSecrets(b *testing.B) {
	for name, text := range map[string][]byte{"program": program(b), "text": prose(8 << 20)} {
		b.Run(name, func(b *testing.B) {
			s := newScanner()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if err := s.scan("a", bytes.NewReader(text), func(string, int) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// program is this very program.
func program(b *testing.B) []byte {
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

// prose looks like source code to a compressor.
func prose(n int) []byte {
	words := strings.Fields("the func return error if err != nil { } := range string []byte config secret token password key image layer import package " +
		"const var type struct interface map append len make copy 0x1f 42 true false /usr/lib/python3 self.value = None")
	r := rand.New(rand.NewPCG(3, 4))
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(" \n\t_"[r.IntN(4)])
		if r.IntN(6) == 0 {
			fmt.Fprintf(&b, "%x", r.Uint32())
		}
	}
	return b.Bytes()[:n]
}
