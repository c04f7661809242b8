package gateway

// Forward is tested with clocks that no test can set.
var Forward = forward
