package v8

import "strings"

// A Node that reads a regular expression which does not parse throws, and dies of it if that was a message of its
// channel. So none is written that this file does not see to be one, for Node 12 and later: the grammar of ECMAScript
// with its Annex B, without what came later (modifiers, names that come twice) and without names that are not ASCII. Of
// Unicode properties it knows the usual ones, of the classes of the flag v only those without sets inside them.

const (
	maxGroups     = 1000 // V8 has room for some ten thousand,
	maxGroupDepth = 100  // and its parser for some thousand levels
)

// validRegExp tells whether source is certain to be a regular expression with the flags u and v given.
func validRegExp(source string, u, v bool) bool {
	p := regexpParser{u: u || v, v: v, names: map[string]bool{}}
	var high uint16
	eachUnit(source, func(unit uint16) {
		if r := rune(unit); p.u && high != 0 && r >= 0xdc00 && r <= 0xdfff { // u counts characters, not units
			p.text[len(p.text)-1] = 0x10000 + rune(high-0xd800)<<10 + r - 0xdc00
			high = 0
			return
		}
		if high = 0; unit >= 0xd800 && unit <= 0xdbff {
			high = unit
		}
		p.text = append(p.text, rune(unit))
	})
	// Names and numbers of groups may be used before they come.
	return p.pattern() && p.at == len(p.text) && p.backs <= p.groups && p.namesExist()
}

type regexpParser struct {
	text   []rune
	at     int
	u, v   bool
	groups int
	backs  int // the highest number referred to, with u
	depth  int
	names  map[string]bool
	used   []string // names referred to
	bareK  bool     // \k without a name, which is a k where no group has a name
}

func (p *regexpParser) namesExist() bool {
	if len(p.names) == 0 && !p.u {
		return true
	}
	for _, name := range p.used {
		if !p.names[name] {
			return false
		}
	}
	return !p.bareK
}

// peek is the next character, -1 at the end.
func (p *regexpParser) peek() rune {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return -1
}

// eat goes behind s if it is next.
func (p *regexpParser) eat(s string) bool {
	if len(p.text)-p.at < len(s) {
		return false
	}
	for i, c := range s {
		if p.text[p.at+i] != c {
			return false
		}
	}
	p.at += len(s)
	return true
}

// pattern reads alternatives up to a closing parenthesis or the end.
func (p *regexpParser) pattern() bool {
	for p.at < len(p.text) && p.peek() != ')' {
		if !p.term() {
			return false
		}
	}
	return true
}

func (p *regexpParser) term() bool {
	switch c := p.peek(); {
	case c == '^' || c == '$' || c == '|':
		p.at++
		return true
	case p.eat(`\b`) || p.eat(`\B`):
		return true
	case c == '*' || c == '+' || c == '?':
		return false
	case p.eat("(?=") || p.eat("(?!"):
		return p.group() && (p.u || p.quantifier())
	case p.eat("(?<=") || p.eat("(?<!"):
		return p.group()
	case p.eat("(?:"):
		return p.group() && p.quantifier()
	case p.eat("(?<"):
		name, ok := p.name()
		if p.groups++; !ok || p.names[name] {
			return false
		}
		p.names[name] = true
		return p.group() && p.quantifier()
	case p.eat("(?"):
		return false
	case c == '(':
		p.at++
		p.groups++
		return p.group() && p.quantifier()
	case c == '[':
		p.at++
		return p.class() && p.quantifier()
	case c == '\\':
		p.at++
		_, ok := p.escape(false)
		return ok && p.quantifier()
	case c == '{' || c == '}' || c == ']':
		if p.u || c == '{' && p.braces() {
			return false
		}
	}
	p.at++
	return p.quantifier()
}

// group reads a group behind its opening.
func (p *regexpParser) group() bool {
	p.depth++
	ok := p.depth <= maxGroupDepth && p.groups <= maxGroups && p.pattern() && p.eat(")")
	p.depth--
	return ok
}

// quantifier reads one if there is one, and tells whether what it has read is right.
func (p *regexpParser) quantifier() bool {
	switch p.peek() {
	case '*', '+', '?':
		p.at++
	case '{':
		start := p.at
		if !p.braces() {
			return !p.u // a brace by itself
		}
		least, most, ok := strings.Cut(string(p.text[start+1:p.at-1]), ",")
		if ok && most != "" && less(most, least) {
			return false
		}
	default:
		return true
	}
	p.eat("?")
	return true
}

// braces goes behind {1}, {1,} or {1,2} if such is next.
func (p *regexpParser) braces() bool {
	i := p.at + 1
	digits := func() bool {
		from := i
		for i < len(p.text) && p.text[i] >= '0' && p.text[i] <= '9' {
			i++
		}
		return i > from
	}
	if !digits() {
		return false
	}
	if i < len(p.text) && p.text[i] == ',' {
		i++
		digits()
	}
	if i == len(p.text) || p.text[i] != '}' {
		return false
	}
	p.at = i + 1
	return true
}

// less compares decimal numbers.
func less(a, b string) bool {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return len(a) < len(b) || len(a) == len(b) && a < b
}

// name reads the name of a group and its closing bracket.
func (p *regexpParser) name() (string, bool) {
	start := p.at
	for ; p.at < len(p.text) && p.text[p.at] != '>'; p.at++ {
		c := p.text[p.at]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$' || p.at > start && c >= '0' && c <= '9') {
			return "", false
		}
	}
	return string(p.text[start:p.at]), p.at > start && p.eat(">")
}

// A set stands for more than one character, so that no range begins or ends with it.
const set = -2

// escape reads what follows a backslash, in a class or not, and returns the character that it is.
func (p *regexpParser) escape(class bool) (rune, bool) {
	c := p.peek()
	if p.at++; c < 0 {
		return 0, false
	}
	switch c {
	case 'd', 'D', 's', 'S', 'w', 'W':
		return set, true
	case 'p', 'P':
		if p.u {
			return set, p.property()
		}
	case 'b':
		return 8, class
	case 't', 'n', 'v', 'f', 'r':
		return map[rune]rune{'t': 9, 'n': 10, 'v': 11, 'f': 12, 'r': 13}[c], true
	case 'c':
		if l := p.peek(); l >= 'a' && l <= 'z' || l >= 'A' && l <= 'Z' {
			p.at++
			return l % 32, true
		} else if class && !p.u && (l >= '0' && l <= '9' || l == '_') {
			p.at++
			return l % 32, true
		}
		p.at-- // a backslash by itself, without u
		return '\\', !p.u
	case 'x':
		if n, ok := p.hex(2); ok || p.u {
			return n, ok
		}
	case 'u':
		return p.unicode()
	case 'k':
		if class {
			return c, !p.u && len(p.names) == 0 && !p.namesFollow()
		}
		start := p.at
		if p.eat("<") {
			if name, ok := p.name(); ok {
				p.used = append(p.used, name)
				return set, true
			}
		}
		p.at = start
		p.bareK = true
		return c, !p.u
	case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return p.digits(c, class)
	case '-':
		return c, !p.u || class
	}
	if p.u && !strings.ContainsRune(`^$\.*+?()[]{}|/`, c) {
		return 0, false
	}
	return c, true
}

// namesFollow tells whether a group with a name may follow.
func (p *regexpParser) namesFollow() bool {
	for i := p.at; i+2 < len(p.text); i++ {
		if p.text[i] == '(' && p.text[i+1] == '?' && p.text[i+2] == '<' {
			return true
		}
	}
	return false
}

// digits reads the rest of \0, \012 or \12: a character, or a reference to a group.
func (p *regexpParser) digits(c rune, class bool) (rune, bool) {
	if p.u {
		if c == '0' {
			next := p.peek()
			return 0, next < '0' || next > '9'
		}
		n := int(c - '0')
		for ; p.peek() >= '0' && p.peek() <= '9'; p.at++ {
			n = min(n*10+int(p.peek()-'0'), 1<<20)
		}
		p.backs = max(p.backs, n)
		return set, !class
	}
	if !class {
		return set, true // whichever it is, and the digits behind it are characters too
	}
	if c > '7' {
		return c, true
	}
	n := c - '0'
	for i := 0; i < 2 && p.peek() >= '0' && p.peek() <= '7' && n*8+p.peek()-'0' <= 255; i++ {
		n = n*8 + p.peek() - '0'
		p.at++
	}
	return n, true
}

// hex reads n hexadecimal digits; without them it stays, and is the letter before.
func (p *regexpParser) hex(n int) (rune, bool) {
	value := rune(0)
	for i := range n {
		if p.at+i >= len(p.text) {
			return p.text[p.at-1], false
		}
		d := strings.IndexRune("0123456789abcdef", p.text[p.at+i]|0x20)
		if d < 0 || p.text[p.at+i] < '0' {
			return p.text[p.at-1], false
		}
		value = value<<4 | rune(d)
	}
	p.at += n
	return value, true
}

// unicode reads the rest of \u0061 or \u{61}.
func (p *regexpParser) unicode() (rune, bool) {
	if p.u && p.eat("{") {
		n, start := rune(0), p.at
		for ; p.peek() != '}'; p.at++ {
			d := strings.IndexRune("0123456789abcdef", p.peek()|0x20)
			if p.peek() < '0' || d < 0 {
				return 0, false
			}
			if n = n<<4 | rune(d); n > 0x10ffff {
				return 0, false
			}
		}
		p.at++
		return n, p.at-1 > start
	}
	n, ok := p.hex(4)
	if !ok {
		return n, !p.u
	}
	if start := p.at; p.u && n >= 0xd800 && n <= 0xdbff && p.eat(`\u`) {
		if low, ok := p.hex(4); ok && low >= 0xdc00 && low <= 0xdfff {
			return 0x10000 + (n-0xd800)<<10 + low - 0xdc00, true
		}
		p.at = start
	}
	return n, true
}

var unicodeProperties = func() map[string]bool {
	known := map[string]bool{}
	for name := range strings.FieldsSeq("L LC Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So " +
		"Z Zs Zl Zp C Cc Cf Cs Co Cn " +
		"Letter Lowercase_Letter Uppercase_Letter Mark Number Decimal_Number Punctuation Symbol Separator") {
		known[name], known["gc="+name], known["General_Category="+name] = true, true, true
	}
	for name := range strings.FieldsSeq("Latin Greek Cyrillic Han Hiragana Katakana Hangul Arabic Hebrew Devanagari Thai " +
		"Armenian Georgian Common Inherited") {
		for prefix := range strings.FieldsSeq("sc= Script= scx= Script_Extensions=") {
			known[prefix+name] = true
		}
	}
	for name := range strings.FieldsSeq("Any ASCII Assigned Alphabetic Alpha Lowercase Lower Uppercase Upper " +
		"White_Space space ID_Start ID_Continue " +
		"Emoji Emoji_Presentation Emoji_Modifier Hex_Digit ASCII_Hex_Digit Ideographic Math") {
		known[name] = true
	}
	return known
}()

// property reads the rest of \p{L}.
func (p *regexpParser) property() bool {
	start := p.at + 1
	if !p.eat("{") {
		return false
	}
	for p.at < len(p.text) && p.text[p.at] != '}' {
		p.at++
	}
	return unicodeProperties[string(p.text[start:p.at])] && p.eat("}")
}

// class reads a class behind its bracket.
func (p *regexpParser) class() bool {
	p.eat("^")
	for !p.eat("]") {
		from, ok := p.member()
		if !ok {
			return false
		}
		if p.peek() != '-' || p.at+1 < len(p.text) && p.text[p.at+1] == ']' {
			continue // no range, or a dash at the end
		}
		p.at++
		to, ok := p.member()
		if !ok || (from == set || to == set) && p.u || from != set && to != set && from > to {
			return false
		}
	}
	return true
}

// member reads a character or set of a class.
func (p *regexpParser) member() (rune, bool) {
	c := p.peek()
	if p.at++; c < 0 {
		return 0, false
	}
	if c == '\\' {
		return p.escape(true)
	}
	if p.v {
		// Characters that have, or could get, a meaning; doubled ones among them.
		return c, !strings.ContainsRune("()[]{}/-|&!#$%*+,.:;<=>?@^`~\"'", c)
	}
	return c, true
}
