package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	maxConfigFile  = 1 << 20 // bytes
	maxConfigDepth = 32      // of maps and lists; the deepest key that means something is at 7
)

// checkYAML says everything that is wrong with the form of a configuration file, before anything is believed, and where
// each part of it is. The form is a small part of YAML that all readers understand alike: one document, no anchors,
// aliases, merge keys or tags, each key once, in its exact spelling, and each value of exactly the type that config has
// for it.
func checkYAML(file string, raw []byte, config reflect.Type) (places, Problems) {
	c := &checker{places: places{file: file, lines: map[string]int{}}}
	if !utf8.Valid(raw) {
		return c.places, Problems{{File: file, What: "is not text in UTF-8"}}
	}

	reader := yaml.NewDecoder(bytes.NewReader(raw))
	var document yaml.Node
	if err := reader.Decode(&document); errors.Is(err, io.EOF) {
		return c.places, Problems{{File: file, What: "is empty; for the default configuration, start without a file"}}
	} else if err != nil {
		return c.places, Problems{c.syntax(err)}
	}
	var second yaml.Node
	if err := reader.Decode(&second); err == nil {
		c.add(&second, "", "a second document begins here, and a reader may stop before it; keep one document in the file")
	} else if !errors.Is(err, io.EOF) {
		return c.places, Problems{c.syntax(err)}
	}

	c.value(document.Content[0], config, "", 0)
	return c.places, c.problems
}

// checker walks a YAML document beside the type that it is to become.
type checker struct {
	places
	problems Problems
}

func (c *checker) add(n *yaml.Node, path, format string, args ...any) {
	c.problems = append(c.problems, &Problem{File: c.file, Line: n.Line, Path: path, What: fmt.Sprintf(format, args...)})
}

// wordTaker is a type for which one word can stand.
type wordTaker interface{ takeWord(word string) error }

var wordTakerType = reflect.TypeFor[wordTaker]()

func (c *checker) value(n *yaml.Node, t reflect.Type, path string, depth int) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if path != "" {
		c.lines[path] = n.Line
	}
	switch {
	case depth > maxConfigDepth:
		c.add(n, path, "is nested too deeply")
	case !c.plain(n, path):
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		c.add(n, path, "is empty; write %s, or leave the key out", typeName(t))
	case n.Kind == yaml.ScalarNode && reflect.PointerTo(t).Implements(wordTakerType):
		c.word(n, t, path)
	case t.Kind() == reflect.Struct:
		c.mapping(n, t, path, depth)
	case t.Kind() == reflect.Slice:
		c.list(n, t, path, depth)
	default:
		c.scalar(n, t, path)
	}
}

// plain refuses what makes YAML mean something else than what stands there.
func (c *checker) plain(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		c.add(n, path, "aliases (*%.40s) are not read; write it out", n.Value)
	case n.Anchor != "":
		c.add(n, path, "anchors (&%.40s) are not read; leave it out", n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		c.add(n, path, "tags (%.40s) are not read; leave it out", n.Tag)
	default:
		return true
	}
	return false
}

func (c *checker) word(n *yaml.Node, t reflect.Type, path string) {
	if n.ShortTag() != "!!str" {
		c.add(n, path, "is %s; it must be %s", nodeName(n), typeName(t))
		return
	}
	if err := reflect.New(t).Interface().(wordTaker).takeWord(n.Value); err != nil {
		c.add(n, path, "%v", err)
	}
}

func (c *checker) mapping(n *yaml.Node, t reflect.Type, path string, depth int) {
	if n.Kind != yaml.MappingNode {
		c.add(n, path, "is %s; it must be %s", nodeName(n), typeName(t))
		return
	}
	fields := keysOf(t)
	seen := map[string]int{} // lines, by folded key
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		here := join(path, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode:
			c.add(key, path, "has a key that is %s; keys are words", nodeName(key))
			continue
		case key.ShortTag() == "!!merge":
			c.add(key, path, "merge keys (<<) are not read; write it out")
			continue
		case !c.plain(key, here):
			continue
		}

		if before, ok := seen[strings.ToLower(key.Value)]; ok {
			c.add(key, here, "is there twice, first in line %d; keep one", before)
			continue
		}
		seen[strings.ToLower(key.Value)] = key.Line

		field, ok := fields[key.Value]
		if !ok {
			c.add(key, here, "unknown key; %s", suggest(key.Value, fields))
			continue
		}
		c.value(value, field, here, depth+1)
		c.lines[here] = key.Line
	}
}

func (c *checker) list(n *yaml.Node, t reflect.Type, path string, depth int) {
	if n.Kind != yaml.SequenceNode {
		c.add(n, path, "is %s; it must be %s", nodeName(n), typeName(t))
		return
	}
	for i, item := range n.Content {
		c.value(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i), depth+1)
	}
}

var (
	wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`) // not 017, which is 15 to some readers and 17 to others
	durationTag = reflect.TypeFor[time.Duration]()
	momentTag   = reflect.TypeFor[Moment]()
)

// oldBooleans are true and false in YAML 1.1 and words in YAML 1.2.
var oldBooleans = []string{"y", "n", "yes", "no", "on", "off"}

func (c *checker) scalar(n *yaml.Node, t reflect.Type, path string) {
	tag := n.ShortTag()
	unquoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch {
	case n.Kind != yaml.ScalarNode:
		c.add(n, path, "is %s; it must be %s", nodeName(n), typeName(t))
	case t == durationTag:
		if _, err := time.ParseDuration(n.Value); err != nil || tag != "!!str" {
			c.add(n, path, "is not a duration; write it like 30s, 5m or 1h")
		}
	case t == momentTag:
		if _, err := Moment(n.Value).time(); err != nil || n.Value == "" || tag != "!!str" && tag != "!!timestamp" {
			c.add(n, path, "is neither a date like 2027-01-01 nor a time like 2027-01-01T12:00:00Z")
		}
	case t.Kind() == reflect.String && tag != "!!str":
		c.add(n, path, "is %s; it must be text: put it in quotes", nodeName(n))
	case t.Kind() == reflect.String && unquoted && slices.Contains(oldBooleans, strings.ToLower(n.Value)):
		c.add(n, path, "%s is true or false to some readers of YAML; put it in quotes", n.Value)
	case t.Kind() == reflect.Bool && (tag != "!!bool" || n.Value != "true" && n.Value != "false"):
		c.add(n, path, "is %s; write true or false", nodeName(n))
	case (t.Kind() == reflect.Int || t.Kind() == reflect.Int64) && (tag != "!!int" || !wholeNumber.MatchString(n.Value)):
		c.add(n, path, "is %s; it must be a whole number in plain digits", nodeName(n))
	}
}

// keysOf lists the keys of a mapping that becomes a struct.
func keysOf(t reflect.Type) map[string]reflect.Type {
	keys := map[string]reflect.Type{}
	for field := range t.Fields() {
		if key := field.Tag.Get("mapstructure"); key != "" {
			keys[key] = field.Type
		}
	}
	return keys
}

var ordinaryKey = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

func join(path, key string) string {
	if !ordinaryKey.MatchString(key) {
		key = fmt.Sprintf("%.64q", key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// nodeName says what a value is, never its content: it may be a secret in the wrong place.
func nodeName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	case "!!null":
		return "empty"
	}
	return "text"
}

func typeName(t reflect.Type) string {
	switch {
	case t == durationTag:
		return "a duration such as 5m"
	case t == momentTag:
		return "a date such as 2027-01-01"
	case t.Kind() == reflect.Struct:
		return "a map with the keys " + strings.Join(sortedKeys(keysOf(t)), ", ")
	case t.Kind() == reflect.Slice && reflect.PointerTo(t).Implements(wordTakerType):
		return "auto or a list"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "text"
	}
	return "a number"
}
