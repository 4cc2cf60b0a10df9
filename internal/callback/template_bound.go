package callback

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/gojq"
)

// A template is bounded in three ways. It may only use functions that cannot make
// much of little in one go (templateFunctions). What can make a value grow is
// followed by a call of functionMade, which weighs the value (bound). And the
// machine that runs it asks at each of its steps whether it is to stop (meter.Done).

// Functions that take the place of what could make much of little, or that stand
// behind it. No template can name them.
const (
	functionMade    = "_ringback_made"    // the value, unless it is too much
	functionProduct = "_ringback_product" // of two numbers
	functionJoin    = "_ringback_join"    // join, weighed before it is made
	functionText    = "_ringback_text"    // the value, unless a regular expression would take long

	ownPrefix = "_ringback_"
)

// pairs are the functions, and the operator, that may compare all parts of one value
// with all of another, as programs about both. They are called by their names behind
// ownPrefix, and ask first how much that would be.
var pairs = map[string]*gojq.Code{
	"indices":  pairProgram(`.[1] as $x | .[0] | indices($x)`),
	"index":    pairProgram(`.[1] as $x | .[0] | index($x)`),
	"rindex":   pairProgram(`.[1] as $x | .[0] | rindex($x)`),
	"contains": pairProgram(`.[1] as $x | .[0] | contains($x)`),
	"inside":   pairProgram(`.[1] as $x | .[0] | inside($x)`),
	"minus":    pairProgram(`.[0] - .[1]`),
}

func pairProgram(text string) *gojq.Code {
	query, err := gojq.Parse(text)
	if err != nil {
		panic(err) // it stands above
	}
	code, err := gojq.Compile(query)
	if err != nil {
		panic(err)
	}
	return code
}

// templateFunctions are what a template may call. Those of the first list return
// part of what there was, so that they can stand in a path; what the others return
// is weighed.
var (
	pathFunctions = words(`empty error select first last nth limit skip until recurse arrays objects iterables booleans numbers strings
		nulls values scalars not type length utf8bytelength has in any all isempty startswith endswith isvalid
		isnan isinfinite isnormal isfinite infinite nan now range while repeat min max min_by max_by floor ceil round sqrt fabs trunc abs
		pow log log2 log10 exp exp2 exp10 toboolean IN getpath`)
	makingFunctions = words(`keys keys_unsorted map map_values to_entries from_entries with_entries add flatten tostring tonumber sort sort_by
		group_by unique unique_by reverse ltrimstr rtrimstr trimstr trim ltrim rtrim explode implode split ascii_downcase ascii_upcase tojson
		fromjson todate fromdate todateiso8601 fromdateiso8601 gmtime mktime strftime strptime test match capture scan splits sub gsub paths path
		del walk`)
	// literalFunctions take their first argument as the program spells it: what it
	// costs, or makes, does not depend on strangers.
	literalFunctions = words(`test match capture scan splits sub gsub strftime strptime`)
	// regexpFunctions take time as the square of what they look through.
	regexpFunctions = words(`test match capture scan splits sub gsub split`)
)

func words(text string) []string { return strings.Fields(text) }

// bound changes a program so that a meter can stop it. Its error names what may not
// stand in a template.
func bound(q *gojq.Query) error {
	w := &walker{}
	w.query(q)
	return w.err
}

// walker goes through a program. Its first error is kept.
type walker struct {
	defined []string // names of the program's own functions and their parameters
	err     error
}

func (w *walker) refuse(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *walker) query(q *gojq.Query) {
	if q == nil {
		return
	}
	if q.Meta != nil || len(q.Imports) > 0 {
		w.refuse("a template cannot import modules")
		return
	}
	outer := len(w.defined)
	for _, def := range q.FuncDefs {
		w.define(def)
	}
	for _, p := range q.Patterns {
		w.pattern(p)
	}
	w.query(q.Left)
	w.query(q.Right)
	w.term(q.Term)
	w.defined = w.defined[:outer]
	switch q.Op {
	case gojq.OpAdd, gojq.OpDiv, gojq.OpMod:
		weighQuery(q)
	case gojq.OpSub:
		callBoth(q, ownPrefix+"minus")
	case gojq.OpMul:
		callBoth(q, functionProduct)
	case gojq.OpAssign, gojq.OpModify, gojq.OpUpdateAdd, gojq.OpUpdateSub, gojq.OpUpdateMul, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		w.refuse("a template cannot assign (%s): it makes a new value", q.Op)
	}
}

func (w *walker) define(def *gojq.FuncDef) {
	for _, name := range append([]string{def.Name}, def.Args...) {
		if strings.HasPrefix(name, ownPrefix) {
			w.refuse("a template cannot define %s", name)
		}
	}
	w.defined = append(w.defined, def.Name)
	outer := len(w.defined)
	w.defined = append(w.defined, def.Args...)
	w.query(def.Body)
	w.defined = w.defined[:outer]
}

// weighQuery makes q what it was, with functionMade behind it.
func weighQuery(q *gojq.Query) {
	inner := *q
	inner.FuncDefs = nil
	*q = gojq.Query{FuncDefs: q.FuncDefs, Left: &inner, Op: gojq.OpPipe, Right: callOf(functionMade)}
}

// callBoth makes a call of a function of what stood at both sides of an operator.
func callBoth(q *gojq.Query, name string) {
	*q = gojq.Query{FuncDefs: q.FuncDefs, Term: &gojq.Term{Type: gojq.TermTypeFunc,
		Func: &gojq.Func{Name: name, Args: []*gojq.Query{q.Left, q.Right}}}}
}

func callOf(name string) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name}}}
}

// weighTerm makes t what it was, with functionMade behind it and before its suffixes.
func weighTerm(t *gojq.Term) {
	inner := *t
	inner.SuffixList = nil
	*t = gojq.Term{Type: gojq.TermTypeQuery, SuffixList: t.SuffixList,
		Query: &gojq.Query{Left: &gojq.Query{Term: &inner}, Op: gojq.OpPipe, Right: callOf(functionMade)}}
}

func (w *walker) term(t *gojq.Term) {
	if t == nil {
		return
	}
	w.index(t.Index)
	for _, s := range t.SuffixList {
		w.index(s.Index)
	}
	switch t.Type {
	case gojq.TermTypeFunc:
		w.call(t)
	case gojq.TermTypeObject:
		for _, kv := range t.Object.KeyVals {
			w.text(kv.KeyString)
			w.query(kv.KeyQuery)
			w.query(kv.Val)
		}
		weighTerm(t)
	case gojq.TermTypeArray:
		w.query(t.Array.Query)
		weighTerm(t)
	case gojq.TermTypeString, gojq.TermTypeFormat:
		w.text(t.Str)
		if t.Str == nil || len(t.Str.Queries) > 0 {
			weighTerm(t)
		}
	case gojq.TermTypeUnary:
		w.term(t.Unary.Term)
	case gojq.TermTypeQuery:
		w.query(t.Query)
	default:
		w.control(t)
	}
}

// control goes through what decides and repeats.
func (w *walker) control(t *gojq.Term) {
	switch t.Type {
	case gojq.TermTypeIf:
		w.query(t.If.Cond)
		w.query(t.If.Then)
		for _, e := range t.If.Elif {
			w.query(e.Cond)
			w.query(e.Then)
		}
		w.query(t.If.Else)
	case gojq.TermTypeTry:
		w.query(t.Try.Body)
		w.query(t.Try.Catch)
	case gojq.TermTypeReduce:
		w.query(t.Reduce.Query)
		w.patterns(t.Reduce.Patterns)
		w.query(t.Reduce.Start)
		w.query(t.Reduce.Update)
	case gojq.TermTypeForeach:
		w.query(t.Foreach.Query)
		w.patterns(t.Foreach.Patterns)
		w.query(t.Foreach.Start)
		w.query(t.Foreach.Update)
		w.query(t.Foreach.Extract)
	case gojq.TermTypeLabel:
		w.query(t.Label.Body)
	}
}

func (w *walker) patterns(all []*gojq.Pattern) {
	for _, p := range all {
		w.pattern(p)
	}
}

func (w *walker) pattern(p *gojq.Pattern) {
	if p == nil {
		return
	}
	w.patterns(p.Array)
	for _, o := range p.Object {
		w.text(o.KeyString)
		w.query(o.KeyQuery)
		w.pattern(o.Val)
	}
}

func (w *walker) index(i *gojq.Index) {
	if i == nil {
		return
	}
	w.text(i.Str)
	w.query(i.Start)
	w.query(i.End)
}

func (w *walker) text(s *gojq.String) {
	if s == nil {
		return
	}
	for _, q := range s.Queries {
		w.query(q)
	}
}

// call goes through a call of a function, or the use of a variable.
func (w *walker) call(t *gojq.Term) {
	f := t.Func
	literal := len(f.Args) > 0 && isLiteral(f.Args[0])
	for _, arg := range f.Args {
		w.query(arg)
	}
	switch {
	case f.Name == "$ENV" || f.Name == "$__loc__":
		w.refuse("a template has no %s", f.Name)
	case strings.HasPrefix(f.Name, "$"), slices.Contains(w.defined, f.Name), slices.Contains(pathFunctions, f.Name):
	case f.Name == "join":
		f.Name = functionJoin
	case f.Name != "minus" && pairs[f.Name] != nil:
		f.Name = ownPrefix + f.Name
		weighTerm(t)
	case !slices.Contains(makingFunctions, f.Name):
		w.refuse("the function %s cannot be used in a template", f.Name)
	case slices.Contains(literalFunctions, f.Name) && !literal, f.Name == "split" && len(f.Args) > 1 && !literal:
		w.refuse("the first argument of %s must be a plain string in a template", f.Name)
	default:
		if (f.Name == "sub" || f.Name == "gsub") && len(f.Args) > 1 {
			weighQuery(f.Args[1])
		}
		if slices.Contains(regexpFunctions, f.Name) && (f.Name != "split" || len(f.Args) > 1) {
			checkText(t)
		}
		if f.Name != "del" && f.Name != "path" && f.Name != "paths" {
			weighTerm(t)
		}
	}
}

// checkText makes t what it was, with functionText before it.
func checkText(t *gojq.Term) {
	inner := *t
	inner.SuffixList = nil
	*t = gojq.Term{Type: gojq.TermTypeQuery, SuffixList: t.SuffixList,
		Query: &gojq.Query{Left: callOf(functionText), Op: gojq.OpPipe, Right: &gojq.Query{Term: &inner}}}
}

// isLiteral tells whether a query is a string without anything in it.
func isLiteral(q *gojq.Query) bool {
	return q.Term != nil && q.Term.Type == gojq.TermTypeString && q.Term.Str != nil && len(q.Term.Str.Queries) == 0 && len(q.Term.SuffixList) == 0
}

// The reasons for which a run is stopped.
var (
	errTemplateTime  = fmt.Errorf("the template took longer than %s", maxTemplateTime)
	errTemplateSteps = errors.New("the template took too many steps")
	errTemplateMade  = errors.New("the template made too much")
)

// meter stops one run of a template. It is the context that the machine asks at
// each step.
type meter struct {
	context.Context
	now   func() time.Time
	end   time.Time
	steps int
	made  int
	err   error
}

var stopped = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done is closed once the run has taken too much.
func (m *meter) Done() <-chan struct{} {
	m.steps++
	if m.err == nil {
		switch {
		case m.steps > maxTemplateSteps:
			m.err = errTemplateSteps
		case m.steps%256 == 0 && m.now().After(m.end):
			m.err = errTemplateTime
		}
	}
	if m.err != nil {
		return stopped
	}
	return nil
}

// Err is why the run was stopped.
func (m *meter) Err() error { return m.err }

func (m *meter) compile(q *gojq.Query) (*gojq.Code, error) {
	options := []gojq.CompilerOption{
		gojq.WithFunction(functionMade, 0, 0, func(v any, _ []any) any { return m.weighed(v, weigh(v, maxTemplateValue)) }),
		gojq.WithFunction(functionProduct, 2, 2, product),
		gojq.WithFunction(functionText, 0, 0, shortText),
		gojq.WithFunction(functionJoin, 1, 1, m.join),
		gojq.WithFunction(ownPrefix+"minus", 2, 2, func(_ any, args []any) any { return m.pair("minus", args[0], args[1]) }),
	}
	for name := range pairs {
		if name != "minus" {
			options = append(options, gojq.WithFunction(ownPrefix+name, 1, 1, func(v any, args []any) any { return m.pair(name, v, args[0]) }))
		}
	}
	return gojq.Compile(q, options...)
}

// maxTemplatePairs is how many comparisons one of the pairs may take.
const maxTemplatePairs = 16 << 20

// pair is what one of the pairs makes of two values.
func (m *meter) pair(name string, a, b any) any {
	_, texts := a.(string)
	linear := texts && (name == "contains" || name == "inside") // of one text in another
	if !linear && parts(a)*parts(b) > maxTemplatePairs {
		return fmt.Errorf("the template compares too much with too much: %s", name)
	}
	if m.now().After(m.end) {
		m.err = errTemplateTime // such a step may be long
		return m.err
	}
	v, _ := pairs[name].Run([]any{a, b}).Next()
	return v
}

// parts is about how much there is to compare of a value.
func parts(v any) int {
	if text, ok := v.(string); ok {
		return len(text)
	}
	return weigh(v, maxTemplateValue) / 16
}

// weighed is v, or an error where it is too much, alone or with all that was made
// before. That error cannot be caught: it stops the run.
func (m *meter) weighed(v any, weight int) any {
	if m.made += weight; weight > maxTemplateValue || m.made > maxTemplateMade {
		m.err = errTemplateMade
		return m.err
	}
	return v
}

// weigh is about how many octets of memory a value takes, counted up to a little
// above the limit. What stands in it twice counts twice.
func weigh(v any, limit int) int {
	const word = 16
	switch v := v.(type) {
	case string:
		return word + len(v)
	case *big.Int:
		return word + v.BitLen()/8
	case []any:
		sum := word
		for _, e := range v {
			if sum += weigh(e, limit-sum); sum > limit {
				break
			}
		}
		return sum
	case map[string]any:
		sum := word
		for name, e := range v {
			if sum += word + len(name) + weigh(e, limit-sum); sum > limit {
				break
			}
		}
		return sum
	}
	return word
}

// maxRegexpText is how much a regular expression may look through, in octets.
const maxRegexpText = 32 << 10

// shortText is v, or an error where it is too long for a regular expression.
func shortText(v any, _ []any) any {
	if text, ok := v.(string); ok && len(text) > maxRegexpText {
		return fmt.Errorf("a regular expression can look through %d KiB in a template, not through %d", maxRegexpText>>10, len(text)>>10)
	}
	return v
}

// product is the operator *, for numbers alone: it repeats strings and merges
// objects, too.
func product(_ any, args []any) any {
	a, b := args[0], args[1]
	x, isInt := a.(int)
	y, areInts := b.(int)
	if isInt && areInts {
		if p := new(big.Int).Mul(big.NewInt(int64(x)), big.NewInt(int64(y))); p.IsInt64() {
			return int(p.Int64())
		}
	}
	f, ok := float(a)
	g, fine := float(b)
	if !ok || !fine {
		return errors.New("a template can multiply numbers only")
	}
	return f * g
}

func float(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, true
	case interface{ Float64() (float64, error) }: // json.Number
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

// join is the function of that name, weighed before the string is made.
func (m *meter) join(v any, args []any) any {
	list, ok := v.([]any)
	separator, fine := args[0].(string)
	if !ok || !fine {
		return errors.New("join takes an array and a string")
	}
	weight, parts := len(separator)*len(list), make([]string, len(list))
	for i, e := range list {
		switch e := e.(type) {
		case nil:
		case string:
			parts[i] = e
		case []any, map[string]any:
			return errors.New("join takes strings, numbers, booleans and null")
		default:
			text, err := gojq.Marshal(e)
			if err != nil {
				return err
			}
			parts[i] = string(text)
		}
		weight += len(parts[i])
	}
	if err, ok := m.weighed(nil, weight).(error); ok {
		return err
	}
	return strings.Join(parts, separator)
}
