package node

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is a TOML file with the lines that its keys are in.
type document struct {
	values map[string]any
	lines  map[string]int // by the key's parts, joined; elements of arrays of tables are [0], [1], ...
}

const joint = "\x00"

// parseTOML reads a TOML document. An error has the line in its text, and as line where that is known.
func parseTOML(content []byte) (d document, line int, err error) {
	if err := toml.Unmarshal(content, &d.values); err != nil {
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ = at.Position()
		}
		return d, line, err
	}
	d.lines = map[string]int{}
	var p unstable.Parser
	p.Reset(content)
	arrays := map[string]int{}
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = ""
			for it, last := e.Key(), false; it.Next(); {
				last = it.IsLast()
				table += joint + string(it.Node().Data)
				if e.Kind == unstable.ArrayTable && last {
					arrays[table]++
				}
				if n := arrays[table]; n > 0 {
					table += fmt.Sprintf("%s[%d]", joint, n-1)
				}
				d.note(&p, table, it.Node())
			}
		case unstable.KeyValue:
			key := table
			for it := e.Key(); it.Next(); {
				key += joint + string(it.Node().Data)
				d.note(&p, key, it.Node())
			}
		}
	}
	return d, 0, p.Error()
}

func (d document) note(p *unstable.Parser, key string, n *unstable.Node) {
	if _, known := d.lines[key]; !known {
		d.lines[key] = p.Shape(n.Raw).Start.Line
	}
}

// line is where a key is, 0 when it is not written out.
func (d document) line(parts ...string) int { return d.lines[joint+strings.Join(parts, joint)] }

// table is the table at a path of keys, nil when there is none.
func (d document) table(parts ...string) map[string]any { return tableOf(d.values, parts...) }

func tableOf(values map[string]any, parts ...string) map[string]any {
	for _, part := range parts {
		values, _ = values[part].(map[string]any)
	}
	return values
}

func stringOf(values map[string]any, key string) string {
	s, _ := values[key].(string)
	return s
}

// stringsOf is a list of strings, and false for what is there and is none.
func stringsOf(values map[string]any, key string) (list []string, ok bool) {
	value, there := values[key]
	if !there {
		return nil, true
	}
	elements, ok := value.([]any)
	for _, element := range elements {
		s, isString := element.(string)
		ok = ok && isString
		list = append(list, s)
	}
	return list, ok
}

// tablesOf is an array of tables.
func tablesOf(values map[string]any, key string) []map[string]any {
	var list []map[string]any
	elements, _ := values[key].([]any)
	for _, element := range elements {
		table, _ := element.(map[string]any)
		list = append(list, table)
	}
	return list
}
