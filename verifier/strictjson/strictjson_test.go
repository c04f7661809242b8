package strictjson

import (
	"encoding/json"
	"strings"
	"testing"
)

type sample struct {
	User  string            `json:"user"`
	Inner *inner            `json:"inner"`
	List  []inner           `json:"list"`
	Free  map[string]string `json:"free"`
	Any   any               `json:"any"`
}

type inner struct {
	Name string `json:"name"`
}

func TestDocumentsWithOneReadingAreDecoded(t *testing.T) {
	const raw = ` {"user":"65532","inner":{"name":"a","other":1},"list":[{"name":"b"}],"free":{"User":"x","user":"y"},
		"any":{"k":[1,{"k":null}]},"unknown":{"User":1}} `
	var got sample
	if err := Decode([]byte(raw), &got); err != nil {
		t.Fatal(err)
	}
	if got.User != "65532" || got.Inner.Name != "a" || got.List[0].Name != "b" || len(got.Free) != 2 {
		t.Errorf("decoded %+v", got)
	}
}

func TestDocumentsWithTwoReadingsAreRefused(t *testing.T) {
	for name, raw := range map[string]string{
		"a key twice":                        `{"user":"65532","user":"0"}`,
		"a key twice, once escaped":          `{"user":"65532","\u0075ser":"0"}`,
		"a key twice inside":                 `{"inner":{"name":"a","name":"b"}}`,
		"a key twice in a list":              `{"list":[{"name":"a","name":"b"}]}`,
		"a key twice in a map":               `{"free":{"a":"1","a":"2"}}`,
		"a key twice where anything goes":    `{"any":{"a":1,"a":2}}`,
		"a key twice under an unknown key":   `{"x":{"a":1,"a":2}}`,
		"another case":                       `{"User":"0"}`,
		"another case inside":                `{"inner":{"NAME":"0"}}`,
		"another case in a list":             `{"list":[{"Name":"0"}]}`,
		"the long s":                         "{\"u\u017fer\":\"0\"}",
		"trailing data":                      `{"user":"1"}{"user":"0"}`,
		"trailing text":                      `{"user":"1"} x`,
		"a byte order mark":                  "\ufeff{}",
		"a NUL":                              "{}\x00",
		"not UTF-8":                          "{\"user\":\"\xff\"}",
		"nothing":                            ``,
		"white space":                        ` `,
		"null":                               `null`,
		"a list":                             `[]`,
		"a text":                             `"user"`,
		"half a document":                    `{"user":"1"`,
		"half a key":                         `{"us`,
		"a text where an object is expected": `{"inner":"x"}`,
		"a number where text is expected":    `{"user":0}`,
		"objects nested too deeply":          `{"any":` + strings.Repeat(`{"a":`, MaxDepth) + `1` + strings.Repeat(`}`, MaxDepth) + `}`,
		"lists nested too deeply":            `{"any":` + strings.Repeat(`[`, 100000) + strings.Repeat(`]`, 100000) + `}`,
	} {
		var got sample
		if err := Decode([]byte(raw), &got); err == nil {
			t.Errorf("%s: %.60q is accepted as %+v", name, raw, got)
		}
	}
}

func TestExactDocumentsHaveNoUnknownKeys(t *testing.T) {
	var got sample
	if err := DecodeExact([]byte(`{"inner":{"name":"a"},"free":{"b":"c"}}`), &got); err != nil {
		t.Error(err)
	}
	for _, raw := range []string{`{"x":1}`, `{"inner":{"x":1}}`, `{"list":[{"x":1}]}`} {
		if err := DecodeExact([]byte(raw), &got); err == nil {
			t.Errorf("%s is accepted", raw)
		}
	}
}

// What is accepted is read alike by encoding/json and after a round through a generic map: no key was dropped or folded.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"user":"65532","inner":{"name":"a"},"list":[{"name":"b"}],"free":{"a":"b"},"any":[1]}`))
	f.Add([]byte(`{"User":"0","user":"1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got sample
		if Decode(raw, &got) != nil {
			return
		}
		var generic map[string]any
		if err := json.Unmarshal(raw, &generic); err != nil {
			t.Fatalf("%q is accepted: %v", raw, err)
		}
		if user, _ := generic["user"].(string); user != got.User {
			t.Errorf("%q: user reads %q and %q", raw, got.User, user)
		}
	})
}
