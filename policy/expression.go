package policy

import (
	"errors"
	"fmt"
	"reflect"
	"regexp/syntax"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// Bounds of expressions.
const (
	maxExpression = 4 << 10 // bytes

	// maxCost bounds what an evaluation over a document may do, in CEL's units, of which a comparison is about one: what it
	// reads may be anybody's list of ten thousand entries. It is reached in about a tenth of a second.
	maxCost = 30_000

	// maxEstimate bounds the same before anything is evaluated, where there are no lists and the worst case is known.
	maxEstimate = 100_000
)

// expression is a condition in CEL, compiled. It is immutable and safe for concurrent use.
type expression struct {
	source  string
	program cel.Program
}

// holds evaluates the condition. An error is neither: whoever asks must not admit.
func (e *expression) holds(v *variables) (bool, error) {
	result, _, err := e.program.Eval(v)
	if err != nil {
		return false, err
	}
	yes, ok := result.Value().(bool)
	if !ok {
		return false, errors.New("the result is neither true nor false")
	}
	return yes, nil
}

// variable is one that expressions have. Names hold a dot and mean themselves: finding.severity is one variable, so that a
// name that is misspelt or belongs to another kind does not compile.
type variable struct {
	name string
	kind *cel.Type
}

var severityType = cel.ObjectType("severity", traits.ComparerType)

var (
	findingVariables = []variable{
		{"finding.id", cel.StringType}, {"finding.package", cel.StringType}, {"finding.version", cel.StringType},
		{"finding.purl", cel.StringType}, {"finding.fixed", cel.BoolType}, {"finding.fixed_version", cel.StringType},
		{"finding.severity", severityType}, {"finding.cvss", cel.DoubleType}, {"finding.epss", cel.DoubleType},
		{"finding.known_exploited", cel.BoolType}, {"finding.published", cel.TimestampType},
	}
	predicateVariable = variable{"predicate", cel.MapType(cel.StringType, cel.DynType)}

	kindVariables = map[Kind][]variable{
		KindScan: {
			{"scan.scanner", cel.StringType}, {"scan.version", cel.StringType}, {"scan.packages", cel.IntType}, {"scan.findings", cel.IntType},
		},
		KindSBOM: {{"sbom.format", cel.StringType}, {"sbom.name", cel.StringType}, {"sbom.packages", cel.IntType}},
		KindProvenance: {
			{"provenance.builder", cel.StringType}, {"provenance.build_type", cel.StringType},
			{"provenance.source_repository", cel.StringType}, {"provenance.ref", cel.StringType}, {"provenance.digest", cel.StringType},
			{"provenance.workflow", cel.StringType}, {"provenance.trigger", cel.StringType}, {"provenance.materials", cel.IntType},
			predicateVariable,
		},
		KindVEX: {predicateVariable},
		KindSummary: {
			{"vsa.verifier", cel.StringType}, {"vsa.resource", cel.StringType}, {"vsa.policy", cel.StringType},
			{"vsa.result", cel.StringType}, {"vsa.levels", cel.ListType(cel.StringType)}, predicateVariable,
		},
		KindTests: {
			{"tests.result", cel.StringType}, {"tests.passed", cel.IntType}, {"tests.warned", cel.IntType}, {"tests.failed", cel.IntType},
			predicateVariable,
		},
		kindPackage: {
			{"pkg.name", cel.StringType}, {"pkg.version", cel.StringType}, {"pkg.purl", cel.StringType},
			{"pkg.ecosystem", cel.StringType}, {"pkg.licenses", cel.ListType(cel.StringType)},
		},
		"": {predicateVariable},
	}
)

// kindPackage is what conditions over packages are about. It is no kind of a predicate.
const kindPackage Kind = "package"

// expressions compiles them, with one environment for each set of variables.
type expressions struct{ environments map[string]*cel.Env }

// compile compiles a condition over what attestations of a kind say, and over each finding of a scan where perFinding.
func (c *expressions) compile(source string, kind Kind, perFinding bool) (*expression, error) {
	if len(source) > maxExpression {
		return nil, fmt.Errorf("the expression is longer than %d bytes", maxExpression)
	}
	available := kindVariables[kind]
	if perFinding {
		available = append(append([]variable(nil), findingVariables...), available...)
	}
	env, err := c.environment(fmt.Sprint(kind, perFinding), available)
	if err != nil {
		return nil, err
	}

	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, pointAt(source, issues.Errors()[0], available)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("the expression is of type %s, it must be true or false", checked.OutputType())
	}
	if err := checkPatterns(checked); err != nil {
		return nil, err
	}
	var options []cel.ProgramOption
	if hasLists(available) {
		options = append(options, cel.CostLimit(maxCost))
	} else if cost, err := env.EstimateCost(checked, textSizes{}); err != nil || cost.Max > maxEstimate {
		return nil, errors.New("the expression is too costly; leave out lists in lists")
	}
	program, err := env.Program(checked, options...)
	if err != nil {
		return nil, err
	}
	return &expression{source: source, program: program}, nil
}

func hasLists(available []variable) bool {
	for _, v := range available {
		if v.kind.Kind() == types.ListKind || v.kind.Kind() == types.MapKind {
			return true
		}
	}
	return false
}

// textSizes estimates that texts have the size that readers keep at most.
type textSizes struct{}

// EstimateSize implements [checker.CostEstimator].
func (textSizes) EstimateSize(checker.AstNode) *checker.SizeEstimate {
	return &checker.SizeEstimate{Min: 0, Max: 4 << 10}
}

// EstimateCallCost implements [checker.CostEstimator].
func (textSizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

func (c *expressions) environment(key string, available []variable) (*cel.Env, error) {
	if env := c.environments[key]; env != nil {
		return env, nil
	}
	options := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(50), cel.ClearMacros(), cel.Macros(cel.StandardMacros...),
	}
	for _, v := range available {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	for severity := range severityNames {
		s := Severity(severity)
		options = append(options, cel.Constant(s.String(), severityType, severityValue(s)))
	}
	for operator, name := range map[string]string{
		operators.Less: "less", operators.LessEquals: "less_equals", operators.Greater: "greater", operators.GreaterEquals: "greater_equals",
	} {
		options = append(options, cel.Function(operator, cel.Overload(name+"_severity", []*cel.Type{severityType, severityType}, cel.BoolType)))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	if c.environments == nil {
		c.environments = map[string]*cel.Env{}
	}
	c.environments[key] = env
	return env, nil
}

// pointAt words an error of the compiler with its place, and says which names there are.
func pointAt(source string, e *common.Error, available []variable) error {
	lines := strings.Split(source, "\n")
	line, column := e.Location.Line(), max(e.Location.Column(), 0)
	rest := ""
	if line >= 1 && line <= len(lines) {
		if runes := []rune(lines[line-1]); column < len(runes) {
			rest = string(runes[column:])
		}
	}
	where := fmt.Sprintf("character %d", column+1)
	if len(lines) > 1 {
		where = fmt.Sprintf("line %d, character %d", line, column+1)
	}
	message, _, _ := strings.Cut(e.Message, "\n")
	message, _, _ = strings.Cut(message, " expecting {") // every token that there is
	message = strings.TrimSuffix(message, " (in container '')")
	if strings.Contains(message, "undeclared reference") {
		names := make([]string, len(available))
		for i, v := range available {
			names[i] = v.name
		}
		message += "; there are " + strings.Join(names, ", ")
	}
	return fmt.Errorf("at %s, before %.30q: %s", where, rest, message)
}

// checkPatterns refuses regular expressions that match a part of a text: "matches" is not anchored, and a pattern that
// means a whole name would be met by a longer one.
func checkPatterns(checked *cel.Ast) error {
	var wrong error
	visit := ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != overloads.Matches {
			return
		}
		arguments := e.AsCall().Args()
		pattern := arguments[len(arguments)-1]
		if pattern.Kind() != ast.LiteralKind {
			wrong = errors.New("the pattern of matches must be written out")
			return
		}
		text, _ := pattern.AsLiteral().Value().(string)
		if !anchored(text) {
			wrong = fmt.Errorf("the pattern %.60q matches a part of a text; write ^(...)$ around it", text)
		}
	})
	ast.PreOrderVisit(checked.NativeRep().Expr(), visit)
	return wrong
}

func anchored(pattern string) bool {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || parsed.Op != syntax.OpConcat || len(parsed.Sub) < 2 {
		return false
	}
	first, last := parsed.Sub[0], parsed.Sub[len(parsed.Sub)-1]
	return first.Op == syntax.OpBeginText && last.Op == syntax.OpEndText
}

// variables is what an expression sees. A finding is set only where findings are looked at one by one.
type variables struct {
	facts   *Facts
	finding *Finding
	pkg     *Package
}

func (v *variables) Parent() cel.Activation { return nil }

// ResolveName implements [cel.Activation]. What was not told is an error and not a zero: an expression that depends on it
// fails, one that does not goes on.
func (v *variables) ResolveName(name string) (any, bool) {
	group, field, _ := strings.Cut(name, ".")
	var value any
	switch {
	case group == "finding" && v.finding != nil:
		value = v.finding.variable(field)
	case group == "pkg" && v.pkg != nil:
		value = v.pkg.variable(field)
	case group == "scan" && v.facts.Scan != nil:
		value = v.facts.Scan.variable(field)
	case group == "sbom" && v.facts.SBOM != nil:
		value = v.facts.SBOM.variable(field)
	case group == "provenance" && v.facts.Provenance != nil:
		value = v.facts.Provenance.variable(field)
	case group == "vsa" && v.facts.Summary != nil:
		value = v.facts.Summary.variable(field)
	case group == "tests" && v.facts.Tests != nil:
		value = v.facts.Tests.variable(field)
	case name == "predicate" && v.facts.Document != nil:
		value = v.facts.Document
	default:
		return nil, false
	}
	if value == nil || value == "" {
		return types.NewErr("the attestation does not tell %s", name), true
	}
	return value, true
}

func (f *Finding) variable(field string) any {
	switch field {
	case "id":
		return f.ID
	case "package":
		return f.Package
	case "version":
		return f.Version
	case "purl":
		return f.PURL
	case "fixed":
		if f.Fix != FixUnknown {
			return f.Fix == FixAvailable
		}
	case "fixed_version":
		return f.FixedVersion
	case "severity":
		return severityValue(f.Severity)
	case "cvss":
		if f.CVSS > 0 {
			return f.CVSS
		}
	case "epss":
		if f.EPSS > 0 {
			return f.EPSS
		}
	case "known_exploited":
		return f.KnownExploited
	case "published":
		if !f.Published.IsZero() {
			return f.Published
		}
	}
	return nil
}

func (p *Package) variable(field string) any {
	switch field {
	case "name":
		return p.Name
	case "version":
		return p.Version
	case "purl":
		return p.PURL
	case "ecosystem":
		return p.Ecosystem
	case "licenses":
		return append([]string{}, p.Licenses...)
	}
	return nil
}

func (s *Scan) variable(field string) any {
	switch field {
	case "scanner":
		return s.Scanner
	case "version":
		return s.Version
	case "packages":
		if s.Counted {
			return s.Packages
		}
	case "findings":
		return len(s.Findings)
	}
	return nil
}

func (s *SBOM) variable(field string) any {
	switch field {
	case "format":
		return s.Format
	case "name":
		return s.Name
	case "packages":
		return s.Packages
	}
	return nil
}

func (p *Provenance) variable(field string) any {
	switch field {
	case "builder":
		return p.Builder
	case "build_type":
		return p.BuildType
	case "source_repository":
		return p.Repository
	case "ref":
		return p.Ref
	case "digest":
		return p.Digest
	case "workflow":
		return p.Workflow
	case "trigger":
		return p.Trigger
	case "materials":
		return p.Materials
	}
	return nil
}

func (s *Summary) variable(field string) any {
	switch field {
	case "verifier":
		return s.Verifier
	case "resource":
		return s.Resource
	case "policy":
		return s.Policy
	case "result":
		return s.Result
	case "levels":
		return append([]string{}, s.Levels...)
	}
	return nil
}

func (t *Tests) variable(field string) any {
	switch field {
	case "result":
		return t.Result
	case "passed":
		return t.Passed
	case "warned":
		return t.Warned
	case "failed":
		return t.Failed
	}
	return nil
}

// severityValue is a severity in an expression: comparable to severities only, in their order.
type severityValue Severity

var _ traits.Comparer = severityValue(0)

// Compare implements [traits.Comparer].
func (s severityValue) Compare(other ref.Val) ref.Val {
	o, ok := other.(severityValue)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Int(Severity(s).rank()).Compare(types.Int(Severity(o).rank()))
}

// Equal implements [ref.Val].
func (s severityValue) Equal(other ref.Val) ref.Val {
	o, ok := other.(severityValue)
	return types.Bool(ok && Severity(s).rank() == Severity(o).rank())
}

// ConvertToNative implements [ref.Val].
func (s severityValue) ConvertToNative(want reflect.Type) (any, error) {
	return nil, fmt.Errorf("a severity is no %v", want)
}

// ConvertToType implements [ref.Val].
func (s severityValue) ConvertToType(want ref.Type) ref.Val {
	return types.NewErr("a severity is no %s", want.TypeName())
}

// Type implements [ref.Val].
func (s severityValue) Type() ref.Type { return severityType }

// Value implements [ref.Val].
func (s severityValue) Value() any { return Severity(s).String() }
