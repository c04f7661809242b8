package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
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
		"a key twice, far apart":             `{"any":{` + members(2*fewKeys) + `,"key3":0}}`,
		"a key twice behind an object":       `{"any":{"a":1,"b":{"c":1},"a":2}}`,
		"a known key written with escapes":   `{"\u0075ser":"0"}`,
		"an escaped NUL":                     `{"user":"0\u0000"}`,
		"an escaped NUL in a key":            `{"any":{"a\u0000":1}}`,
		"an escaped NUL where anything goes": `{"x":["\u0000"]}`,
		"the first half of a pair":           `{"user":"\ud800"}`,
		"the first half of a pair twice":     `{"user":"\ud800\ud800"}`,
		"the first half before a text":       `{"user":"\ud800\\u"}`,
		"the second half of a pair":          `{"user":"\udc00"}`,
		"half a pair in a key":               `{"any":{"\uD800":1}}`,
		"null in place of an object":         `{"inner":null}`,
		"a number that goes on":              `{"any":1` + strings.Repeat("0", maxNumber) + `}`,
		"too many entries":                   `{"list":[` + strings.Repeat("{},", MaxEntries) + `{}]}`,
		"too many keys":                      `{"any":{` + members(MaxKeys+1) + `}}`,
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
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
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

// members lists the members of an object, each with a key of its own.
func members(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"key%d":%d`, i, i)
	}
	return strings.Join(list, ",")
}

func TestTheBoundsThemselvesAreAccepted(t *testing.T) {
	for name, raw := range map[string]string{
		"objects at the depth": `{"any":` + strings.Repeat(`{"a":`, MaxDepth-1) + `1` + strings.Repeat(`}`, MaxDepth-1) + `}`,
		"lists at the depth":   `{"any":` + strings.Repeat(`[`, MaxDepth-1) + strings.Repeat(`]`, MaxDepth-1) + `}`,
		"all the keys":         `{"any":{` + members(MaxKeys) + `}}`,
		"a long number":        `{"any":1` + strings.Repeat("0", maxNumber-1) + `}`,
		"all the entries":      `{"list":[` + strings.Repeat("{},", MaxEntries-1) + `{}]}`,
	} {
		if err := Decode([]byte(raw), new(sample)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTextIsTextHoweverItIsWritten(t *testing.T) {
	for _, text := range []string{`\ud83d\ude00`, `\uD83D\uDE00`, `😀`, `\"`, `\\`, `\\u0000`, `\\\"`, `\u00e9\n`, `}`, `]`, `,`, `:`, ` `, ``, `\/`} {
		raw := []byte(`{"user":"` + text + `","any":{"` + text + `":["` + text + `",-1.5e3,true,false,null,{},[]]}}`)
		var got, want sample
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		if err := Decode(raw, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", raw, got, err, want)
		}
	}
}

func TestTypesWithAReaderOfTheirOwnTakeAnything(t *testing.T) {
	var got struct {
		Raw  json.RawMessage  `json:"raw"`
		When *time.Time       `json:"when"`
		Free map[string]inner `json:"free"`
		None string           `json:"-"`
		Bare string
	}
	const raw = `{"raw":{"User":1,"user":2},"when":"2026-01-01T00:00:00Z","free":{"a":{"name":"b"}},"Bare":"c"}`
	if err := Decode([]byte(raw), &got); err != nil || got.Bare != "c" || got.When == nil || got.Free["a"].Name != "b" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, raw := range []string{`{"raw":{"a":1,"a":2}}`, `{"free":{"a":{"Name":"b"}}}`, `{"bare":""}`} {
		if err := Decode([]byte(raw), &got); err == nil {
			t.Errorf("%s is accepted", raw)
		}
	}
}

// What is accepted is read alike by encoding/json into a struct and into a generic map, and a reader of tokens finds no key
// twice: nothing was dropped or folded.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"user":"65532","inner":{"name":"a"},"list":[{"name":"b"}],"free":{"a":"b"},"any":[1]}`))
	f.Add([]byte(`{"User":"0","user":"1"}`))
	f.Add([]byte(`{"any":{"\u0061":"\ud83d\ude00","b":[{"c":null},[]]},"user":"\\\""}`))
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
		if key, twice := duplicate(json.NewDecoder(bytes.NewReader(raw))); twice {
			t.Errorf("%q is accepted with %q twice", raw, key)
		}
	})
}

// duplicate finds a key that is in one object twice, in the tokens of a value.
func duplicate(d *json.Decoder) (string, bool) {
	token, err := d.Token()
	if err != nil || token != json.Delim('{') && token != json.Delim('[') {
		return "", false
	}
	seen := map[string]bool{}
	for d.More() {
		if token == json.Delim('{') {
			key, _ := d.Token()
			if seen[key.(string)] {
				return key.(string), true
			}
			seen[key.(string)] = true
		}
		if key, twice := duplicate(d); twice {
			return key, true
		}
	}
	d.Token() // the closing delimiter
	return "", false
}

func BenchmarkDecode(b *testing.B) {
	raw := []byte(`{"user":"65532","inner":{"name":"a"},"list":[{"name":"b"},{"name":"c"}],"free":{` +
		strings.ReplaceAll(strings.ReplaceAll(members(10), ":", `:"`), ",", `",`) + `"},"any":[1,2,{"x":null}]}`)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		var got sample
		if err := Decode(raw, &got); err != nil {
			b.Fatal(err)
		}
	}
}
