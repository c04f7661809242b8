package main

import (
	"fmt"
	"io"
)

// tree is text with text below it.
type tree struct {
	text     string
	branches []*tree
}

// add puts a line below and returns it, for more below that. Without text nothing is added.
func (t *tree) add(text string) *tree {
	branch := &tree{text: text}
	if text != "" {
		t.branches = append(t.branches, branch)
	}
	return branch
}

// row puts a named value below.
func (t *tree) row(name, value string) *tree {
	if value == "" {
		return t.add("")
	}
	return t.add(fmt.Sprintf("%-9s %s", name, value))
}

func (t *tree) write(w io.Writer) {
	fmt.Fprintln(w, t.text)
	t.writeBranches(w, "")
}

func (t *tree) writeBranches(w io.Writer, margin string) {
	for i, branch := range t.branches {
		fork, below := "├─ ", "│  "
		if i == len(t.branches)-1 {
			fork, below = "└─ ", "   "
		}
		fmt.Fprintf(w, "%s%s%s\n", margin, fork, branch.text)
		branch.writeBranches(w, margin+below)
	}
}
