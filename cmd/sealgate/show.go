package main

import (
	"io"
	"reflect"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// settings are the configuration as plain maps and lists, under the keys of the file.
func (l *Loaded) settings() any {
	c := l.Config
	c.Signers = slices.Clone(c.Signers)
	for i := range c.Signers {
		c.Signers[i].Key.File, _ = c.keyPath(c.Signers[i])
	}
	return plainly(reflect.ValueOf(c), true)
}

// zeroUnits are what 1m0s and 1h0m0s have too much.
var zeroUnits = regexp.MustCompile(`([hm])(0m)?0s$`)

// plainly shows all of the sections, and of the items of lists what is not empty.
func plainly(v reflect.Value, all bool) any {
	switch value := v.Interface().(type) {
	case time.Duration:
		return zeroUnits.ReplaceAllString(value.String(), "$1")
	case Credentials:
		if value.word != "" {
			return value.word
		}
	case Formats:
		if len(value) == 1 && value[0] == "auto" {
			return "auto"
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		return plainly(v.Elem(), all)
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			list = append(list, plainly(v.Index(i), false))
		}
		return list
	case reflect.Struct:
		m := map[string]any{}
		for field, value := range v.Fields() {
			if key := field.Tag.Get("mapstructure"); key != "" && (all && !isAbsent(value) || !isEmpty(value)) {
				m[key] = plainly(value, all)
			}
		}
		return m
	}
	return v.Interface()
}

// isAbsent reports a section that is not there, where others are empty.
func isAbsent(v reflect.Value) bool { return v.Kind() == reflect.Pointer && v.IsNil() }

func isEmpty(v reflect.Value) bool {
	return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
}

// writeYAML writes the settings in the order of [Config], with where they came from when it was not the file.
func (l *Loaded) writeYAML(w io.Writer) error {
	settings := l.settings().(map[string]any)
	root := &yaml.Node{Kind: yaml.MappingNode}
	if err := appendInOrder(root, settings, reflect.TypeFor[Config](), "", l.Origins); err != nil {
		return err
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		return err
	}
	return e.Close()
}

func appendInOrder(n *yaml.Node, settings map[string]any, t reflect.Type, path string, origins map[string]string) error {
	for field := range t.Fields() {
		key := field.Tag.Get("mapstructure")
		setting, ok := settings[key]
		if key == "" || !ok {
			continue
		}
		value, err := inOrder(setting, field.Type, join(path, key), origins)
		if err != nil {
			return err
		}
		if origin := origins[join(path, key)]; origin != "" {
			value.LineComment = "from " + origin
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
	}
	return nil
}

func inOrder(setting any, t reflect.Type, path string, origins map[string]string) (*yaml.Node, error) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch setting := setting.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		return n, appendInOrder(n, setting, t, path, origins)
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if t.Elem().Kind() == reflect.String {
			n.Style = yaml.FlowStyle
		}
		for _, one := range setting {
			item, err := inOrder(one, t.Elem(), path, origins)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		return n, nil
	}
	n := &yaml.Node{}
	return n, n.Encode(setting)
}
