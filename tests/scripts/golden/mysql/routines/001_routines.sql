CREATE TABLE t (id INT PRIMARY KEY, note VARCHAR(90) DEFAULT 'it\'s; "quoted" -- no comment');
DROP PROCEDURE IF EXISTS bump;
delimiter $$
CREATE PROCEDURE bump(IN n INT)
BEGIN
  -- migrate:down is only a comment here
  DECLARE i INT DEFAULT 0;  # another comment; with a semicolon
  WHILE i < n DO
    INSERT INTO t VALUES (i, 'a$b');
    SET i = i + 1;
  END WHILE;
END $$
DELIMITER //
CREATE TRIGGER t_insert BEFORE INSERT ON t FOR EACH ROW
BEGIN
  IF NEW.note IS NULL THEN SET NEW.note = CASE WHEN NEW.id > 1 THEN 'x' ELSE 'y' END; END IF;
END//
DELIMITER ;
CALL bump(3);
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2;
