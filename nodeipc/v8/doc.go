// Package v8 reads and writes V8's structured clone format: what v8.serialize and v8.deserialize of Node.js exchange, and
// what the channel of child_process carries with serialization 'advanced'. It needs nothing else of this module.
//
//	data, err := v8.Marshal(map[string]any{"when": time.Now(), "raw": []byte("hi")}) // for v8.deserialize
//	err = v8.Unmarshal(data, &v)                                                     // from v8.serialize
package v8
