package main

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
)

// warning is something in a configuration that is no mistake, and that an operator should know.
type warning struct {
	text   string
	fields []any
}

func (m *built) warn(text string, fields ...any) {
	m.Warnings = append(m.Warnings, warning{text, fields})
}

func (m *built) logWarnings(log *slog.Logger) {
	for _, w := range m.Warnings {
		log.Warn(w.text, w.fields...)
	}
}

// unsafe names the settings that are set and take a protection away, by their path. Their keys say so, which is a promise to
// whoever reads the file; whoever reads only the log is told at every start.
func (c *Config) unsafe() []string { return unsafeIn(reflect.ValueOf(*c), "") }

func unsafeIn(v reflect.Value, path string) (set []string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return unsafeIn(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			set = append(set, unsafeIn(v.Index(i), fmt.Sprintf("%s[%d]", path, i))...)
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			if key := field.Tag.Get("mapstructure"); key != "" {
				set = append(set, unsafeIn(value, join(path, key))...)
			}
		}
	case reflect.Bool:
		if v.Bool() && strings.HasSuffix(path, "_unsafe") {
			return []string{path}
		}
	}
	return set
}
