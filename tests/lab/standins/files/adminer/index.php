<?php
// As the official image: the form's server field comes filled in from ADMINER_DEFAULT_SERVER.
function adminer_object() {
    class StandIn extends Adminer {
        function loginFormField($name, $heading, $value) {
            if ($name === 'server') {
                $default = getenv('ADMINER_DEFAULT_SERVER') ?: 'db';
                $value = str_replace('value=""', 'value="' . htmlspecialchars($default) . '"', $value);
            }
            return $heading . $value . "\n";
        }
    }
    return new StandIn;
}
require '/usr/share/adminer/adminer.php';
