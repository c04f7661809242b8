package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/spf13/cobra"
)

func newBases() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bases",
		Short: "Keep lists of approved base images up to date",
		Args:  commandsOnly,
		RunE:  showHelp,
	}
	cmd.AddCommand(newBasesRefresh(), newBasesList())
	return cmd
}

// keepPins is how long a pin is kept where no policy says how old a base image may be.
const keepPins = 90 * 24 * time.Hour

func newBasesRefresh() *cobra.Command {
	var form format
	var source configSource
	var keep, timeout time.Duration
	var dry, check bool
	cmd := &cobra.Command{
		Use:   "refresh [FILE]",
		Short: "Look base images up and pin what their names mean now",
		Long: `Look up every image that a list of approved base images names, in the registries behind the gateway, and write what it is
now into the list: its digest, and the digest and diff ids of each platform, with today's date. Without FILE it is every list
that the policies name. A running gateway takes the new list when it changes.

Older pins stay for as long as the policies let them count (push.image.base.max_age), or 90 days: images on last week's base
are not refused because the base was rebuilt. Comments, order and entries that somebody keeps by hand stay as they are. What
cannot be looked up stays as it was, and the rest is written all the same.

Exit codes: 0 done, 1 our fault, 2 usage or configuration, 4 an image is not there, 5 upstream or credentials, 7 with --check
or --dry-run: something would change.`,
		Example: `  sealgate bases refresh --config sealgate.yaml
  sealgate bases refresh --config sealgate.yaml --check bases.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			result, err := refreshBases(ctx, &source, args, refreshOptions{keep: keep, dry: dry || check, steps: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			if err := form.print(cmd.OutOrStdout(), result, result.table); err != nil {
				return err
			}
			return result.exit(dry || check)
		},
	}
	cmd.Flags().DurationVar(&keep, "keep", 0, "how long older pins stay (default: as long as the policies let them count, or 2160h)")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "look everything up and write nothing")
	cmd.Flags().BoolVar(&check, "check", false, "the same, for CI")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long it may take")
	source.flags(cmd)
	form.flag(cmd)
	return cmd
}

type refreshOptions struct {
	keep  time.Duration // 0: as the policies say
	dry   bool
	steps io.Writer
}

// refreshedLists is the result of bases refresh; its JSON is a promise.
type refreshedLists struct {
	Lists []refreshedList `json:"lists"`
}

func refreshBases(ctx context.Context, source *configSource, args []string, o refreshOptions) (result refreshedLists, err error) {
	if o.keep < 0 {
		return result, usage("--keep %s is negative", o.keep)
	}
	loaded, err := source.load()
	if err != nil {
		return result, err
	}
	files, err := baseFiles(&loaded.Config, args)
	if err != nil {
		return result, err
	}
	b := &builder{getenv: os.Getenv, alone: true}
	wanted, problems := readRegistries(loaded)
	if len(problems) > 0 {
		return result, problems
	}
	made := &built{}
	registries, problems := b.openRegistries(loaded, wanted, made)
	if len(problems) > 0 {
		b.drop(made)
		return result, problems
	}
	err = b.keep(made)
	defer func() { err = errors.Join(err, b.close()) }()
	if err != nil {
		return result, err
	}

	finder := baseFinder{registries: registries}
	if u, err := url.Parse(loaded.Config.Listen.ExternalURL); err == nil {
		finder.own = u.Host
	}
	r := &refresher{find: finder.find, today: time.Now().UTC().Truncate(24 * time.Hour), dry: o.dry, step: func(image string) {
		fmt.Fprintf(o.steps, "looking up %s\n", plain(image))
	}}
	for _, file := range files {
		keep := o.keep
		if keep == 0 {
			keep = longestAge(&loaded.Config, file)
		}
		result.Lists = append(result.Lists, r.refresh(ctx, file, keep))
	}
	return result, nil
}

// baseFiles are the lists that are meant: those named, or else those of the policies.
func baseFiles(c *Config, args []string) ([]string, error) {
	if len(args) > 0 {
		file, err := filepath.Abs(args[0])
		return []string{file}, err
	}
	var files []string
	for _, base := range c.baseDocuments() {
		if !slices.Contains(files, base.Approved) {
			files = append(files, base.Approved)
		}
	}
	if len(files) == 0 {
		return nil, usage("no policy names a list in push.image.base.approved; name a file, like: sealgate bases refresh bases.yaml")
	}
	return files, nil
}

// baseDocuments are what the policies say about base images, where they name a list.
func (c *Config) baseDocuments() (all []*policy.BaseDocument) {
	for _, p := range c.Policies {
		if p.Push != nil && p.Push.Image.Base != nil && p.Push.Image.Base.Approved != "" {
			all = append(all, p.Push.Image.Base)
		}
	}
	return all
}

// longestAge is how long some policy lets a pin of a list count, or [keepPins] where one sets no limit, or none names it.
func longestAge(c *Config, file string) (longest time.Duration) {
	for _, base := range c.baseDocuments() {
		if base.Approved != file {
			continue
		}
		if base.MaxAge <= 0 {
			longest = max(longest, keepPins)
		}
		longest = max(longest, base.MaxAge)
	}
	if longest == 0 {
		return keepPins
	}
	return longest
}

// table is the result for people.
func (r refreshedLists) table(w io.Writer) {
	for _, list := range r.Lists {
		words := "is up to date"
		switch {
		case list.Error != "":
			words = "stays as it was: " + list.Error
		case list.Written:
			words = "is written"
		case list.Changed:
			words = "would change"
		}
		fmt.Fprintf(w, "%s %s\n", list.File, words)
		for _, b := range list.Bases {
			fmt.Fprintf(w, "  %-7s  %s%s\n", b.Outcome, b.Name, b.words())
		}
	}
}

func (b refreshedBase) words() string {
	var all []string
	if b.Digest != "" {
		all = append(all, fmt.Sprintf("%.19s…", b.Digest), strings.Join(b.Platforms, ", "))
	}
	if b.Kept > 0 {
		all = append(all, fmt.Sprintf("%d older kept", b.Kept))
	}
	if b.Dropped > 0 {
		all = append(all, fmt.Sprintf("%d too old dropped", b.Dropped))
	}
	if b.Error != "" {
		all = append(all, b.Error)
	}
	if len(all) == 0 {
		return ""
	}
	return ": " + strings.Join(all, "; ")
}

// exit says how it went. What failed is told before what would change.
func (r refreshedLists) exit(dry bool) error {
	code := exitCode(0)
	for _, list := range r.Lists {
		if list.err != nil {
			code = max(code, codeOf(list.err))
		}
		for _, b := range list.Bases {
			if b.err != nil {
				code = max(code, codeOfLookup(b.err))
			}
		}
	}
	for _, list := range r.Lists {
		if code == 0 && dry && list.Changed {
			code = exitChange
		}
	}
	if code == 0 {
		return nil
	}
	return &exitError{code: code}
}

// codeOfLookup is the exit code of what went wrong with one image: what is no fault of the list's is the registry's.
func codeOfLookup(err error) exitCode {
	if code := codeOf(err); code != exitFault {
		return code
	}
	return codeOf(upstreamError(err))
}

func newBasesList() *cobra.Command {
	var form format
	var source configSource
	cmd := &cobra.Command{
		Use:   "list [FILE]",
		Short: "Show what lists of approved base images hold",
		Long: `Show what a list of approved base images holds, and how old it is: by the day on which each was approved or refreshed. Without
FILE it is every list that the policies name. No registry is asked.`,
		Example: `  sealgate bases list --config sealgate.yaml
  sealgate bases list -o json bases.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := listBases(&source, args)
			if err != nil {
				return err
			}
			return form.print(cmd.OutOrStdout(), result, result.table)
		},
	}
	source.flags(cmd)
	form.flag(cmd)
	return cmd
}

// listedBases is the result of bases list; its JSON is a promise.
type listedBases struct {
	Bases []listedBase `json:"bases"`
}

// listedBase is an approved base image of one platform.
type listedBase struct {
	File      string `json:"file"`
	Name      string `json:"name"`
	Image     string `json:"image,omitempty"`
	Platform  string `json:"platform,omitempty"`
	Digest    string `json:"digest,omitempty"` // of its manifest
	Refreshed string `json:"refreshed,omitempty"`
	Until     string `json:"until,omitempty"`
	Layers    int    `json:"layers"`
}

func listBases(source *configSource, args []string) (result listedBases, err error) {
	result.Bases = []listedBase{}
	var files []string
	if len(args) > 0 {
		files, err = baseFiles(nil, args)
	} else {
		loaded, failure := source.load()
		if failure != nil {
			return result, failure
		}
		files, err = baseFiles(&loaded.Config, nil)
	}
	if err != nil {
		return result, err
	}
	for _, file := range files {
		raw, err := safefile.Read(file, maxBaseList, 0)
		if err != nil {
			return result, &exitError{exitUsage, fmt.Errorf("%s cannot be read: %w", file, err)}
		}
		list, _, err := parseBaseList(file, raw)
		if err != nil {
			return result, err
		}
		for _, b := range list.Bases {
			result.Bases = append(result.Bases, b.listed(file)...)
		}
	}
	return result, nil
}

func (b approvedBase) listed(file string) (all []listedBase) {
	one := listedBase{File: file, Name: plain(b.Name), Image: plain(b.Image), Until: plain(b.Until)}
	if len(b.DiffIDs) > 0 || len(b.Pins) == 0 {
		byHand := one
		byHand.Digest, byHand.Refreshed, byHand.Layers = plain(b.Digest), plain(b.Refreshed), len(b.DiffIDs)
		all = append(all, byHand)
	}
	for _, pin := range b.Pins {
		for _, image := range pin.Images {
			pinned := one
			pinned.Platform, pinned.Digest, pinned.Refreshed, pinned.Layers = plain(image.Platform), plain(image.Digest), plain(pin.Refreshed), len(image.DiffIDs)
			all = append(all, pinned)
		}
	}
	return all
}

// table is the result for people.
func (l listedBases) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tREFRESHED\tUNTIL\tPLATFORM\tLAYERS\tDIGEST")
	for _, b := range l.Bases {
		dash := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%.19s\n", b.Name, dash(b.Refreshed), dash(b.Until), dash(b.Platform), b.Layers, dash(b.Digest))
	}
	_ = t.Flush()
}
