package inspect

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
)

// rule finds one kind of secret. Its anchors are literal texts that every match contains; match looks at what is around one.
//
// A rule is there only if what it finds is a secret nearly always: a gate that cries wolf is switched off. So each wants a
// text of the right length and alphabet that ends where it should, and none looks for long random texts as such.
type rule struct {
	id      string
	anchors []string
	files   []string // base names of the files that it concerns; none for all
	match   func(text []byte, at, end int) bool
}

// reach is how far around an anchor a rule looks, in bytes.
const reach = 1 << 10

const (
	digits      = "0123456789"
	upper       = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lower       = "abcdefghijklmnopqrstuvwxyz"
	word        = digits + upper + lower + "_"
	token       = word + "-"
	base64Text  = digits + upper + lower + "+/"
	accessKeyID = upper + "234567"
)

// secretRules are the rules, with the makers' own descriptions of their formats where there are some.
func secretRules() []rule {
	return []rule{
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html. The id alone is no secret.
		{id: "aws-access-key", anchors: []string{"AKIA", "ASIA"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, accessKeyID, 16, 16, 8) && !bytes.HasSuffix(text[end:end+16], []byte("EXAMPLE")) && nearSecretKey(text, at)
		}},
		{id: "aws-secret-key", anchors: []string{"secret_access_key", "SECRET_ACCESS_KEY", "ecretAccessKey"}, match: func(text []byte, _, end int) bool {
			start := skip(text, end, 12, " \t\"'=:>,")
			return start > end && runs(text, start, start, base64Text, 40, 40, 12) && !bytes.HasSuffix(text[start:start+40], []byte("EXAMPLEKEY"))
		}},
		// https://github.blog/engineering/behind-githubs-new-authentication-token-formats
		{id: "github-token", anchors: []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, digits+upper+lower, 36, 255, 10)
		}},
		{id: "github-token", anchors: []string{"github_pat_"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, word, 82, 82, 10)
		}},
		{id: "gitlab-token", anchors: []string{"glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, token+".", 20, 300, 10)
		}},
		{id: "slack-token", anchors: []string{"xoxb-", "xoxa-", "xoxp-", "xoxr-", "xoxs-", "xoxe-", "xoxe.", "xapp-"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, token+".", 24, 400, 10) && bytes.ContainsAny(text[end:end+12], digits)
		}},
		{id: "slack-webhook", anchors: []string{"hooks.slack.com/services/T"}, match: func(text []byte, _, end int) bool {
			return runs(text, 0, end, word+"/", 40, 80, 10)
		}},
		{id: "private-key", anchors: []string{"PRIVATE KEY-----", "PRIVATE KEY BLOCK-----"}, match: matchPrivateKey},
		{id: "npm-token", anchors: []string{"npm_"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, digits+upper+lower, 36, 36, 10)
		}},
		{id: "npm-token", anchors: []string{"_authToken="}, match: func(text []byte, _, end int) bool {
			return runs(text, 0, skip(text, end, 1, `"'`), token+"+/=.", 20, 400, 8)
		}},
		{id: "pypi-token", anchors: []string{"pypi-AgEIcHlwaS5vcmc"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, token, 50, 400, 10)
		}},
		{id: "google-api-key", anchors: []string{"AIza"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, token, 35, 35, 12)
		}},
		{id: "stripe-key", anchors: []string{"sk_live_", "rk_live_"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, digits+upper+lower, 24, 250, 10)
		}},
		{id: "azure-storage-key", anchors: []string{"AccountKey="}, match: func(text []byte, _, end int) bool {
			return runs(text, 0, end, base64Text+"=", 88, 88, 16) && bytes.HasSuffix(text[end:end+88], []byte("=="))
		}},
		{id: "digitalocean-token", anchors: []string{"dop_v1_", "doo_v1_", "dor_v1_"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, digits+"abcdef", 64, 64, 8)
		}},
		{id: "vault-token", anchors: []string{"hvs.", "hvb."}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, token, 90, 300, 16)
		}},
		{id: "model-api-key", anchors: []string{"sk-ant-api", "sk-ant-admin", "sk-proj-", "sk-svcacct-"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, token, 60, 300, 16)
		}},
		{id: "age-key", anchors: []string{"AGE-SECRET-KEY-1"}, match: func(text []byte, at, end int) bool {
			return runs(text, at, end, digits+upper, 58, 58, 12)
		}},
		{id: "jwt", anchors: []string{"eyJhbGciOi", "eyJ0eXAiOi", "eyJraWQiOi"}, match: matchJWT},

		{id: "docker-auth", anchors: []string{`"auth"`}, files: []string{"config.json", ".dockercfg", ".dockerconfigjson"}, match: func(text []byte, _, end int) bool {
			start := skip(text, end, 16, " \t\r\n:\"")
			n := span(text, start, base64Text+"=", 512)
			login, err := base64.StdEncoding.DecodeString(string(text[start : start+n]))
			user, password, ok := strings.Cut(string(login), ":")
			return err == nil && ok && user != "" && password != ""
		}},
		{id: "netrc-password", anchors: []string{"password"}, files: []string{".netrc", "_netrc"}, match: func(text []byte, at, end int) bool {
			start := skip(text, end, 16, " \t\r\n")
			return start > end && start < len(text) && (at == 0 || bytes.IndexByte([]byte(" \t\r\n"), text[at-1]) >= 0)
		}},
		{id: "git-password", anchors: []string{"http://", "https://"}, files: []string{".git-credentials"}, match: func(text []byte, _, end int) bool {
			line, _, _ := bytes.Cut(text[end:min(end+reach, len(text))], []byte("\n"))
			login, _, ok := bytes.Cut(line, []byte("@"))
			_, password, both := bytes.Cut(login, []byte(":"))
			return ok && both && len(password) > 0
		}},
	}
}

// concerns reports that a rule looks into files of that name.
func (r *rule) concerns(base string) bool { return len(r.files) == 0 || slices.Contains(r.files, base) }

// runs reports that a secret's text begins at start: least to most bytes of an alphabet, at least so many of them different,
// and nothing of the alphabet around it. at is where the anchor begins, 0 where what stands before it does not matter.
func runs(text []byte, at, start int, alphabet string, least, most, different int) bool {
	if at > 0 && strings.IndexByte(word, text[at-1]) >= 0 {
		return false
	}
	n := span(text, start, alphabet, most+1)
	if n < least || n > most {
		return false
	}
	var seen [256]bool
	for _, c := range text[start : start+n] {
		if !seen[c] {
			seen[c] = true
			different--
		}
	}
	return different <= 0
}

// span counts bytes of an alphabet from start on, up to most.
func span(text []byte, start int, alphabet string, most int) int {
	n := 0
	for n < most && start+n < len(text) && strings.IndexByte(alphabet, text[start+n]) >= 0 {
		n++
	}
	return n
}

// skip returns where something else than at most so many of these bytes is.
func skip(text []byte, at, most int, these string) int { return at + span(text, at, these, most) }

// nearSecretKey looks for the secret half of an AWS key: 40 characters of base64 that stand alone.
func nearSecretKey(text []byte, at int) bool {
	around := text[max(at-reach/2, 0):min(at+reach/2, len(text))]
	for i := 0; i < len(around); {
		n := span(around, i, base64Text, len(around))
		if n == 40 && runs(around, 0, i, base64Text, 40, 40, 20) && !bytes.HasSuffix(around[i:i+n], []byte("EXAMPLEKEY")) {
			return true
		}
		i += n + 1
	}
	return false
}

// matchPrivateKey wants the line that begins a key, and the beginning of one below it: programs that read keys hold such
// lines too.
func matchPrivateKey(text []byte, at, end int) bool {
	line := text[max(at-40, 0):at]
	begin := bytes.LastIndex(line, []byte("-----BEGIN "))
	if begin < 0 || span(line, begin+len("-----BEGIN "), upper+digits+" ", 40) != len(line)-begin-len("-----BEGIN ") {
		return false
	}
	rest := text[end:min(end+reach, len(text))]
	rest = bytes.ReplaceAll(rest, []byte(`\r`), nil)
	rest = bytes.ReplaceAll(rest, []byte(`\n`), []byte("\n")) // as JSON and variables hold it
	for line := range bytes.Lines(rest) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || bytes.Contains(line, []byte(": ")) { // headers such as Proc-Type
			continue
		}
		return runs(line, 0, 0, base64Text+"=", 40, 2*reach, 12)
	}
	return false
}

// matchJWT wants all three parts, and somebody who calls it a token: tests and manuals are full of them.
func matchJWT(text []byte, at, end int) bool {
	if at > 0 && strings.IndexByte(token+".", text[at-1]) >= 0 {
		return false
	}
	for part, rest := 0, text[at:min(at+reach, len(text))]; part < 3; part++ {
		n := span(rest, 0, token, len(rest))
		switch {
		case n < 16:
			return false
		case n == len(rest):
			part = 3 // the last part, or longer than we look
		case part < 2 && rest[n] != '.':
			return false
		default:
			rest = rest[n+1:]
		}
	}
	return calledToken(text, at)
}

func calledToken(text []byte, at int) bool {
	before := bytes.ToLower(text[max(at-48, 0):at])
	return bytes.Contains(before, []byte("token")) || bytes.Contains(before, []byte("bearer")) ||
		bytes.Contains(before, []byte("secret")) || bytes.Contains(before, []byte("authorization"))
}
