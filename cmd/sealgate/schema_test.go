package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write generated files instead of comparing them")

func TestSchemaIsGeneratedFromTheConfigStruct(t *testing.T) {
	t.Parallel()
	g := schemaGenerator{docs: map[string]string{}}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range append(sources, "../../policy/document.go") {
		g.read(t, source)
	}
	schema := g.of(reflect.TypeFor[Config]())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Sealgate configuration"
	schema["required"] = []string{"policies"}

	want := new(bytes.Buffer)
	e := json.NewEncoder(want)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("schema.json", want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(schemaJSON, want.Bytes()) {
		t.Error("schema.json is not what the Config struct says; run go generate ./cmd/sealgate")
	}
}

// schemaGenerator makes a JSON Schema of a struct, with the comments of its source as descriptions.
type schemaGenerator struct{ docs map[string]string } // by type, or type.field

func (g schemaGenerator) read(t *testing.T, file string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}
		for _, field := range fields.Fields.List {
			for _, name := range field.Names {
				g.docs[spec.Name.Name+"."+name.Name] = field.Doc.Text() + field.Comment.Text()
			}
		}
		return false
	})
}

func (g schemaGenerator) of(t reflect.Type) map[string]any {
	switch {
	case t.Kind() == reflect.Pointer:
		return g.of(t.Elem())
	case t == reflect.TypeFor[Credentials]():
		return oneOf(map[string]any{"enum": credentialWords}, g.object(t))
	case t == reflect.TypeFor[Formats]():
		return oneOf(map[string]any{"const": "auto"}, map[string]any{
			"type": "array", "minItems": 1, "uniqueItems": true, "items": map[string]any{"enum": []string{"bundle", "tag"}},
		})
	case t == durationTag:
		return map[string]any{"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h))+$"}
	case t == momentTag:
		return map[string]any{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?$"}
	case t.Kind() == reflect.Struct:
		return g.object(t)
	case t.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": g.of(t.Elem()), "minItems": 1}
	case t.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case t.Kind() == reflect.String:
		return map[string]any{"type": "string"}
	}
	return map[string]any{"type": "integer"}
}

func oneOf(schemas ...any) map[string]any { return map[string]any{"oneOf": schemas} }

// enums are the words that a setting can be, by type and field.
var enums = map[string][]string{
	"Document.Mode":         {"enforce", "audit"},
	"LabelsDocument.OnMiss": actions,
	"BaseDocument.OnMiss":   actions,
	"ImageDocument.NonRoot": actions, "ImageDocument.RootGroup": actions, "ImageDocument.Secrets": actions,
	"ImageDocument.Setuid": actions, "ImageDocument.Capabilities": actions, "ImageDocument.Devices": actions,
	"ImageDocument.Paths": actions, "ImageDocument.WorldWritable": actions, "ImageDocument.Minimal": actions,
	"ImageDocument.Caches": actions, "ImageDocument.EndOfLife": actions, "ImageDocument.Ports": actions,
	"ImageDocument.Volumes": actions, "ImageDocument.Future": actions,
	"AllowDocument.May":     {"pull", "push", "delete", "sign"},
	"ScannerProgram.Report": {"grype", "sarif", "trivy"},
	"ScanDocument.Fixable":  thresholds, "ScanDocument.Unfixable": thresholds,
	"ScanDocument.KnownExploited": {"allow", "deny"}, "ScanDocument.OnIncomplete": {"warn", "deny"},
}

var (
	actions    = []string{"allow", "warn", "deny"}
	thresholds = []string{"low", "medium", "high", "critical", "never"}
)

func (g schemaGenerator) object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	for field := range t.Fields() {
		key := field.Tag.Get("mapstructure")
		if key == "" {
			continue
		}
		property := g.of(field.Type)
		if words := enums[t.Name()+"."+field.Name]; words != nil {
			property = map[string]any{"enum": words}
			if field.Type.Kind() == reflect.Slice {
				property = map[string]any{"type": "array", "items": property, "minItems": 1, "uniqueItems": true}
			}
		}
		property["description"] = describe(g.docs[t.Name()+"."+field.Name], field.Name, key)
		properties[key] = property
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

var goName = regexp.MustCompile(`\b([A-Z][a-z]+){2,}\b`)

// describe turns a Go comment into words about keys: SignedBy is signed_by there.
func describe(doc, field, key string) string {
	doc = strings.Join(strings.Fields(doc), " ")
	if rest, ok := strings.CutPrefix(doc, field+" "); ok {
		doc = key + " " + rest
	}
	return goName.ReplaceAllStringFunc(doc, func(name string) string {
		return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "${1}_$2"))
	})
}

func TestSchemaDescribesEveryKey(t *testing.T) {
	t.Parallel()
	var schema any
	if err := json.Unmarshal(schemaJSON, &schema); err != nil {
		t.Fatal(err)
	}
	var walk func(at string, node any)
	walk = func(at string, node any) {
		m, ok := node.(map[string]any)
		if !ok {
			return
		}
		if properties, ok := m["properties"].(map[string]any); ok {
			if m["additionalProperties"] != false {
				t.Errorf("%s accepts keys that it does not know", at)
			}
			for key, property := range properties {
				if text, _ := property.(map[string]any)["description"].(string); text == "" {
					t.Errorf("%s.%s has no description", at, key)
				}
				walk(at+"."+key, property)
			}
		}
		walk(at+"[]", m["items"])
		if list, ok := m["oneOf"].([]any); ok {
			for _, one := range list {
				walk(at, one)
			}
		}
	}
	walk("", schema)
}
