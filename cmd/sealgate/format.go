package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"
)

// format is how a command prints its result: table, for people, or json, for programs. It is a [pflag.Value].
type format string

func (f *format) flag(cmd *cobra.Command) {
	*f = "table"
	cmd.Flags().VarP(f, "format", "o", "how to print the result: table or json")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "table|json" }

func (f *format) Set(s string) error {
	if s != "table" && s != "json" {
		return errors.New("is neither table nor json")
	}
	*f = format(s)
	return nil
}

// draw writes value as JSON, or as a tree, in colours where they are seen.
func (f *format) draw(w io.Writer, value any, tree func(painter) *tree) error {
	return f.print(w, value, func(out io.Writer) { tree(newPainter(w)).write(out) })
}

// print writes value as JSON, or what table writes.
func (f *format) print(w io.Writer, value any, table func(io.Writer)) error {
	var b bytes.Buffer
	if *f == "json" {
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(value); err != nil {
			return err
		}
	} else {
		table(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}
