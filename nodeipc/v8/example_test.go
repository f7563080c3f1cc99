package v8_test

import (
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

func Example() {
	type job struct {
		ID   *big.Int  `v8:"id"`
		Due  time.Time `v8:"due"`
		Raw  []byte    `v8:"raw"`
		Next *job      `v8:"next"`
	}
	j := &job{ID: big.NewInt(1 << 62), Due: time.UnixMilli(0), Raw: []byte("hi")}
	j.Next = j
	data, err := v8.Marshal(j) // v8.deserialize(data) in Node
	if err != nil {
		fmt.Println(err)
	}
	var again job
	if err := v8.Unmarshal(data, &again); err != nil {
		fmt.Println(err)
	}
	fmt.Println(again.ID, again.Due, string(again.Raw), again.Next == &again)
	// Output: 4611686018427387904 1970-01-01 00:00:00 +0000 UTC hi true
}

func ExampleUnmarshal() {
	// v8.serialize({ a: [1, , undefined], m: new Map([['k', 2n]]) })
	data := []byte("\xff\x0fo\"\x01aa\x03I\x00I\x02I\x04_@\x02\x03\"\x01m;\"\x01kZ\x10\x02\x00\x00\x00\x00\x00\x00\x00:\x02{\x02")
	var v any
	if err := v8.Unmarshal(data, &v); err != nil {
		fmt.Println(err)
	}
	object := v.(map[string]any)
	fmt.Printf("%#v\n", object["a"])
	k, _ := object["m"].(*v8.Map).Get("k")
	fmt.Println(k)
	// Output:
	// []interface {}{1, v8.Hole{}, v8.Undefined{}}
	// 2
}

func ExampleTypeError() {
	data, _ := v8.Marshal(map[string]any{"users": []any{map[string]any{"name": 5}}})
	var v struct{ Users []struct{ Name string } }
	err := v8.Unmarshal(data, &v)
	fmt.Println(err)
	var typeErr *v8.TypeError
	fmt.Println(errors.As(err, &typeErr), typeErr.Path)
	// Output:
	// v8: cannot decode number 5 into Go value of type string at Users[0].Name (offset 19)
	// true Users[0].Name
}

func ExampleValue() {
	data, _ := v8.Marshal(map[string]any{"cmd": "resize", "args": []int{640, 480}})
	v, err := v8.Parse(data, v8.V8Serialize)
	if err != nil {
		fmt.Println(err)
	}
	for name, member := range v.Members() {
		if s, ok := member.String(); ok {
			fmt.Println(name, "is the string", s)
		} else {
			var size [2]int
			fmt.Println(name, "is an", member.Kind(), member.Decode(nil, &size), size)
		}
	}
	// Output:
	// args is an Array <nil> [640 480]
	// cmd is the string resize
}

func ExampleEncoder() {
	e := v8.Encoder{Layout: v8.Channel, Node: 12}
	var payload []byte
	for _, v := range []any{[]byte("a"), new(v8.Set).Add(1)} {
		var err error
		if payload, err = e.Append(payload[:0], v); err != nil {
			fmt.Println(err)
		}
		fmt.Printf("%x\n", payload)
	}
	// Output:
	// ff0d5c000a0161
	// ff0d2749022c01
}

func ExampleTokens() {
	for t, err := range v8.Tokens([]byte("\xff\x0do\"\x01aI\x02{\x01"), v8.V8Serialize) {
		fmt.Println(t.Part, t.Offset, t.End, t.Level, t.Key, err)
	}
	// Output:
	// header 0 2 0 false <nil>
	// begin 2 3 0 false <nil>
	// value 3 6 1 true <nil>
	// value 6 8 1 false <nil>
	// end 8 10 0 false <nil>
}
