package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/policy"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// manualKnown is what the manual's examples refer to.
func manualKnown(l *Loaded) policy.Known {
	return policy.Known{
		Authorities: map[string]string{"gateway": "f1", "ci": "f2", "release": "f3"},
		Signers:     map[string]string{"gateway": "f1"},
		Scanners:    map[string]string{"default": "s1"},
		Bases:       approveAll(l),
	}
}

func policyManual(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestEveryPolicyInTheManualLoads(t *testing.T) {
	t.Parallel()
	blocks := yamlBlock.FindAllStringSubmatch(policyManual(t), -1)
	if len(blocks) < 5 {
		t.Fatalf("found %d examples", len(blocks))
	}
	for _, block := range blocks {
		l, err := loadText(t, block[1])
		if err != nil {
			t.Errorf("%v\n%s", err, block[1])
			continue
		}
		known := manualKnown(l)
		for _, group := range l.Config.Clients.Groups {
			known.Groups = append(known.Groups, group.Name)
		}
		if _, err := policy.Compile(l.Config.Policies, known); err != nil {
			t.Errorf("%v\n%s", err, block[1])
		}
	}
	last, err := loadText(t, blocks[len(blocks)-1][1])
	if err != nil || !reflect.DeepEqual(last.Config.Policies, defaults().Policies) {
		t.Errorf("the default policy in the manual is %+v, %v", last.Config.Policies, err)
	}
}

// TestEveryConfigurationInTheGuidesLoads takes the examples that are parts of a configuration as a whole one.
func TestEveryConfigurationInTheGuidesLoads(t *testing.T) {
	t.Parallel()
	found := 0
	for _, guide := range []string{"clients.md", "operations.md"} {
		raw, err := os.ReadFile("../../docs/" + guide)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range yamlBlock.FindAllStringSubmatch(string(raw), -1) {
			key, _, _ := strings.Cut(block[1], ":")
			if _, ours := keysOf(reflect.TypeFor[Config]())[key]; !ours {
				continue // somebody else's file
			}
			found++
			text := block[1]
			if !strings.Contains(text, "\npolicies:") {
				text += onePolicy
			}
			if _, err := loadText(t, text); err != nil {
				t.Errorf("%s: %v\n%s", guide, err, text)
			}
		}
	}
	if found < 5 {
		t.Errorf("found %d examples", found)
	}
}

func TestTheManualHasEveryKeyOfAPolicy(t *testing.T) {
	t.Parallel()
	manual := policyManual(t)
	var walk func(typ reflect.Type, prefix string)
	walk = func(typ reflect.Type, prefix string) {
		if typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		for key, field := range keysOf(typ) {
			if inner := field; inner.Kind() == reflect.Struct || inner.Kind() == reflect.Pointer {
				walk(inner, prefix+key+".")
				continue
			}
			path := prefix + key
			if strings.HasPrefix(path, "pull.signed_by.") || strings.HasPrefix(path, "pull.attested[].by.") {
				path = key + ":"
			}
			path = strings.TrimPrefix(path, "pull.attested[].") // its keys have a table of their own
			if field.Kind() == reflect.Slice && field.Elem().Kind() == reflect.Struct {
				walk(field, path+"[].")
			}
			if !strings.Contains(manual, "`"+path) && !strings.Contains(manual, path+" ") {
				t.Errorf("docs/policy.md does not mention %s", path)
			}
		}
	}
	walk(reflect.TypeFor[policy.Document](), "")
}

func TestTheManualHasEveryReason(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(policyManual(t), -1) {
		listed = append(listed, row[1])
	}
	raw, err := os.ReadFile("../../policy/verdict.go")
	if err != nil {
		t.Fatal(err)
	}
	var defined []string
	for _, code := range regexp.MustCompile(`Code = "([A-Z_]+)"`).FindAllStringSubmatch(string(raw), -1) {
		defined = append(defined, code[1])
	}
	slices.Sort(listed)
	slices.Sort(defined)
	if len(defined) < 10 || !slices.Equal(listed, defined) {
		t.Errorf("docs/policy.md lists %v, policy/verdict.go defines %v", listed, defined)
	}
}
