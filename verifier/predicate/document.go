package predicate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/strictjson"
)

// descriptor is what SLSA says about a source or a material.
type descriptor struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// provenance02 is https://slsa.dev/spec/v0.2/provenance. Pointers are what has to be there.
type provenance02 struct {
	Builder *struct {
		ID string `json:"id"`
	} `json:"builder"`
	BuildType  string `json:"buildType"`
	Invocation struct {
		ConfigSource struct {
			URI        string            `json:"uri"`
			Digest     map[string]string `json:"digest"`
			EntryPoint string            `json:"entryPoint"`
		} `json:"configSource"`
		Environment struct {
			Trigger string `json:"github_event_name"`
		} `json:"environment"`
	} `json:"invocation"`
	Metadata struct {
		Finished string `json:"buildFinishedOn"`
		Started  string `json:"buildStartedOn"`
	} `json:"metadata"`
	Materials []descriptor `json:"materials"`
}

// provenance1 is https://slsa.dev/spec/v1.0/provenance, with the parameters of the build types that are in use: GitHub's
// workflows, its generators, and BuildKit.
type provenance1 struct {
	Definition *struct {
		BuildType string `json:"buildType"`
		External  *struct {
			Workflow struct {
				Ref        string `json:"ref"`
				Repository string `json:"repository"`
				Path       string `json:"path"`
			} `json:"workflow"`
			Source       descriptor `json:"source"`
			ConfigSource struct {
				URI    string            `json:"uri"`
				Digest map[string]string `json:"digest"`
				Path   string            `json:"path"`
			} `json:"configSource"`
		} `json:"externalParameters"`
		Internal struct {
			GitHub struct {
				Trigger string `json:"event_name"`
			} `json:"github"`
			Trigger string `json:"GITHUB_EVENT_NAME"`
		} `json:"internalParameters"`
		Dependencies []descriptor `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	Details *struct {
		Builder *struct {
			ID string `json:"id"`
		} `json:"builder"`
		Metadata struct {
			Finished string `json:"finishedOn"`
			Started  string `json:"startedOn"`
		} `json:"metadata"`
	} `json:"runDetails"`
}

func readProvenance(predicateType string, raw []byte, facts *policy.Facts) (err error) {
	p := &policy.Provenance{}
	var started, finished string
	if predicateType == policy.Provenance02 {
		var doc provenance02
		if err := strictjson.Decode(raw, &doc); err != nil {
			return err
		}
		if doc.Builder == nil {
			return missing("builder")
		}
		source := doc.Invocation.ConfigSource
		p.Builder, p.BuildType = doc.Builder.ID, doc.BuildType
		p.Workflow, p.Trigger, p.Materials = source.EntryPoint, doc.Invocation.Environment.Trigger, len(doc.Materials)
		takeSource(p, source.URI, source.Digest, doc.Materials)
		started, finished = doc.Metadata.Started, doc.Metadata.Finished
	} else {
		var doc provenance1
		if err := strictjson.Decode(raw, &doc); err != nil {
			return err
		}
		switch {
		case doc.Definition == nil || doc.Definition.External == nil:
			return missing("buildDefinition.externalParameters")
		case doc.Details == nil || doc.Details.Builder == nil:
			return missing("runDetails.builder")
		}
		definition, external := doc.Definition, doc.Definition.External
		p.Builder, p.BuildType = doc.Details.Builder.ID, definition.BuildType
		p.Materials = len(definition.Dependencies)
		p.Trigger = firstOf(definition.Internal.GitHub.Trigger, definition.Internal.Trigger)
		p.Workflow = firstOf(external.Workflow.Path, external.ConfigSource.Path)
		switch {
		case external.Workflow.Repository != "":
			takeSource(p, external.Workflow.Repository, nil, definition.Dependencies)
			p.Ref = firstOf(external.Workflow.Ref, p.Ref)
		case external.Source.URI != "":
			takeSource(p, external.Source.URI, external.Source.Digest, definition.Dependencies)
		default:
			takeSource(p, external.ConfigSource.URI, external.ConfigSource.Digest, definition.Dependencies)
		}
		started, finished = doc.Details.Metadata.Started, doc.Details.Metadata.Finished
	}
	if p.Builder == "" {
		return missing("the builder's id")
	}
	if p.BuildType == "" {
		return missing("buildType")
	}
	facts.Provenance = p
	facts.Claimed, err = optionalMoment(firstOf(finished, started))
	return err
}

// takeSource reads the source's repository, ref and digest out of a URI such as
// git+https://github.com/acme/app@refs/heads/main, and where that has no digest, out of the material that it names.
func takeSource(p *policy.Provenance, uri string, digests map[string]string, materials []descriptor) {
	p.Repository, p.Ref = splitSource(uri)
	for _, m := range materials {
		if repository, ref := splitSource(m.URI); len(digests) == 0 && repository == p.Repository && p.Repository != "" {
			digests = m.Digest
			p.Ref = firstOf(p.Ref, ref)
		}
	}
	p.Digest = firstOf(digests["gitCommit"], digests["sha1"], digests["sha256"])
}

// splitSource takes a source apart. An @ before the path belongs to a login, not to a ref.
func splitSource(uri string) (repository, ref string) {
	uri = strings.TrimPrefix(uri, "git+")
	at := strings.LastIndexByte(uri, '@')
	scheme := strings.Index(uri, "://")
	if at < 0 || scheme < 0 || !strings.Contains(uri[scheme+3:max(at, scheme+3)], "/") {
		return uri, ""
	}
	return uri[:at], uri[at+1:]
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func optionalMoment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return moment(text)
}

// readVEX reads OpenVEX: https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md. In version 0.0.x and in what cosign 2
// attested, a vulnerability is a text and a product too; later they are objects.
func readVEX(raw []byte, facts *policy.Facts) error {
	var doc struct {
		Context    string `json:"@context"`
		Author     string `json:"author"`
		Timestamp  string `json:"timestamp"`
		Statements *[]struct {
			Vulnerability any    `json:"vulnerability"`
			Products      []any  `json:"products"`
			Status        string `json:"status"`
			Justification string `json:"justification"`
			Timestamp     string `json:"timestamp"`
		} `json:"statements"`
	}
	if err := strictjson.Decode(raw, &doc); err != nil {
		return err
	}
	switch {
	case doc.Context != "https://openvex.dev/ns" && !strings.HasPrefix(doc.Context, "https://openvex.dev/ns/v0."):
		return fmt.Errorf("@context is %.60q", doc.Context)
	case doc.Author == "":
		return missing("author")
	case doc.Timestamp == "":
		return missing("timestamp")
	case doc.Statements == nil || len(*doc.Statements) == 0:
		return missing("statements")
	case len(*doc.Statements) > maxStatements:
		return fmt.Errorf("more than %d statements", maxStatements)
	}
	written, err := moment(doc.Timestamp)
	if err != nil {
		return err
	}

	vex := &policy.VEX{Author: doc.Author}
	for _, st := range *doc.Statements {
		one := policy.VEXStatement{Status: st.Status, Justification: st.Justification, Time: written}
		switch st.Status {
		case "not_affected", "affected", "fixed", "under_investigation":
		default:
			return fmt.Errorf("a statement of status %.40q", st.Status)
		}
		if one.Vulnerability = named(st.Vulnerability, "name"); one.Vulnerability == "" {
			return missing("a statement's vulnerability")
		}
		if len(st.Products) > maxProducts {
			return fmt.Errorf("more than %d products in a statement", maxProducts)
		}
		if one.Aliases, err = aliasesOf(st.Vulnerability); err != nil {
			return err
		}
		for _, product := range st.Products {
			p, err := readProduct(product)
			if err != nil {
				return err
			}
			one.Products = append(one.Products, p)
		}
		if st.Timestamp != "" {
			if one.Time, err = moment(st.Timestamp); err != nil {
				return err
			}
		}
		vex.Statements = append(vex.Statements, one)
	}
	facts.VEX, facts.Claimed = vex, written
	return nil
}

// aliasesOf lists the other names of a vulnerability.
func aliasesOf(vulnerability any) (aliases []string, err error) {
	object, _ := vulnerability.(map[string]any)
	if object["aliases"] == nil {
		return nil, nil
	}
	list, ok := object["aliases"].([]any)
	if !ok || len(list) > maxAliases {
		return nil, fmt.Errorf("aliases that are no list of at most %d", maxAliases)
	}
	for _, alias := range list {
		name, _ := alias.(string)
		if name == "" {
			return nil, errors.New("an alias that is no name")
		}
		aliases = append(aliases, name)
	}
	return aliases, nil
}

// readProduct reads a product or a part of one. Where it is identified in several ways, the package URL counts.
func readProduct(product any) (p policy.VEXProduct, err error) {
	if p.ID = identity(product); p.ID == "" {
		return p, errors.New("a product without @id or purl")
	}
	object, _ := product.(map[string]any)
	if object["subcomponents"] == nil {
		return p, nil
	}
	parts, ok := object["subcomponents"].([]any)
	if !ok || len(parts) > maxProducts {
		return p, fmt.Errorf("subcomponents that are no list of at most %d", maxProducts)
	}
	for _, part := range parts {
		id := identity(part)
		if id == "" {
			return p, errors.New("a subcomponent without @id or purl")
		}
		p.Subcomponents = append(p.Subcomponents, id)
	}
	return p, nil
}

func identity(component any) string {
	id := named(component, "@id")
	if object, ok := component.(map[string]any); ok && !strings.HasPrefix(id, "pkg:") {
		id = firstOf(named(object["identifiers"], "purl"), id)
	}
	return id
}

// named is a text, or the text under a key of an object.
func named(value any, key string) string {
	if object, ok := value.(map[string]any); ok {
		value = object[key]
	}
	text, _ := value.(string)
	return text
}

// readSummary reads https://slsa.dev/spec/v1.0/verification_summary.
func readSummary(raw []byte, facts *policy.Facts) (err error) {
	var doc struct {
		Verifier struct {
			ID string `json:"id"`
		} `json:"verifier"`
		Verified string `json:"timeVerified"`
		Resource string `json:"resourceUri"`
		Policy   struct {
			URI string `json:"uri"`
		} `json:"policy"`
		Result string    `json:"verificationResult"`
		Levels *[]string `json:"verifiedLevels"`
	}
	if err := strictjson.Decode(raw, &doc); err != nil {
		return err
	}
	switch {
	case doc.Verifier.ID == "":
		return missing("verifier.id")
	case doc.Resource == "":
		return missing("resourceUri")
	case doc.Result != "PASSED" && doc.Result != "FAILED":
		return fmt.Errorf("verificationResult is %.40q", doc.Result)
	case doc.Levels == nil:
		return missing("verifiedLevels")
	case len(*doc.Levels) > maxLevels:
		return fmt.Errorf("more than %d levels", maxLevels)
	}
	facts.Summary = &policy.Summary{
		Verifier: doc.Verifier.ID, Resource: doc.Resource, Policy: doc.Policy.URI, Result: doc.Result, Levels: *doc.Levels,
	}
	facts.Claimed, err = optionalMoment(doc.Verified)
	return err
}

// readTests reads https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md.
func readTests(raw []byte, facts *policy.Facts) error {
	var doc struct {
		Result        string   `json:"result"`
		Configuration *[]any   `json:"configuration"`
		Passed        []string `json:"passedTests"`
		Warned        []string `json:"warnedTests"`
		Failed        []string `json:"failedTests"`
	}
	if err := strictjson.Decode(raw, &doc); err != nil {
		return err
	}
	if doc.Result != "PASSED" && doc.Result != "WARNED" && doc.Result != "FAILED" {
		return fmt.Errorf("result is %.40q", doc.Result)
	}
	if doc.Configuration == nil {
		return missing("configuration")
	}
	facts.Tests = &policy.Tests{Result: doc.Result, Passed: len(doc.Passed), Warned: len(doc.Warned), Failed: len(doc.Failed)}
	return nil
}
